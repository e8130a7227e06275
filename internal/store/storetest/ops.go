package storetest

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// set returns a live write of a value.
func set(k keys.Key, v clock.Version, payload string) store.Op {
	return store.Op{Action: store.Set, Key: k, Version: v, TTL: life, Payload: []byte(payload)}
}

// tombstone returns a live deletion of a value.
func tombstone(k keys.Key, v clock.Version) store.Op {
	return store.Op{Action: store.Set, Key: k, Version: v, TTL: life, Flags: record.Tombstone}
}

// appendOp returns a live append.
func appendOp(k keys.Key, v clock.Version, messages ...store.Message) store.Op {
	return store.Op{Action: store.Append, Key: k, Version: v, TTL: life, Messages: batch(messages), Window: wide}
}

// replaceOp returns a live replace; by no messages it is a clear.
func replaceOp(k keys.Key, v clock.Version, messages ...store.Message) store.Op {
	return store.Op{Action: store.Replace, Key: k, Version: v, TTL: life, Messages: batch(messages), Window: wide}
}

// merged returns op as a replay brings it.
func (s *suite) merged(op store.Op) store.Op {
	op.Mode, op.TTL, op.ExpiresAt = store.Merge, 0, s.clock.Time().Add(life)
	return op
}

// under returns op under a generation.
func under(op store.Op, generation uint64) store.Op {
	op.Generation = generation
	return op
}

// batch numbers messages by their place.
func batch(messages []store.Message) []store.Message {
	messages = slices.Clone(messages)
	for i := range messages {
		messages[i].Index = uint16(i)
	}
	return messages
}

// msg returns a message whose payload follows from id and content.
func msg(id, content string) store.Message {
	sum := sha256.Sum256([]byte(content))
	payload := fmt.Sprintf(`{"id":%q,"role":"user","content":%q}`, id, content)
	return store.Message{ID: id, Digest: [8]byte(sum[:8]), Payload: []byte(payload)}
}

// describe writes an operation for a message.
func describe(op store.Op) string {
	action := map[store.Action]string{store.Set: "set", store.Append: "append", store.Replace: "replace"}[op.Action]
	if op.Mode == store.Merge {
		action = "merge " + action
	}
	text := fmt.Sprintf("%s %s at %s/%d", action, op.Key, op.Version, op.Generation)
	if op.Action == store.Set {
		return fmt.Sprintf("%s flags %02x %.40q", text, op.Flags, op.Payload)
	}
	const most = 20 // a failure is to be read
	for i, m := range op.Messages {
		if i == most {
			return fmt.Sprintf("%s and %d more", text, len(op.Messages)-most)
		}
		text += fmt.Sprintf(" %q:%x", m.ID, m.Digest[:2])
		if m.At != (record.Order{}) {
			text += "@" + m.At.String()
		}
	}
	return text
}

// name returns a status in words.
func name(s store.Status) string {
	names := []string{"?", "applied", "unchanged", "superseded", "stale", "conflict", "ahead", "condition failed", "expired"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("status %d", s)
}
