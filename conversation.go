package jackcache

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/jackcache/jackcache/internal/engine"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/near"
	"github.com/jackcache/jackcache/internal/store"
)

// Conversation is the messages that an organisation exchanges with one phone.
// It is a small value: make it where it is needed. Who reads the same conversation
// again and again keeps it: that saves reading the phone, making the key, and looking
// for the copy in this process. The zero Conversation returns ErrInvalid. Safe for
// concurrent use.
type Conversation struct{ *conversation }

type conversation struct {
	org    Org
	phone  keys.Phone
	name   keys.Key
	handle near.Handle
	err    error
}

// Conversation returns the conversation with a phone, in any spelling. A phone
// that is not possible makes every call return ErrInvalid.
func (o Org) Conversation(phone string) Conversation {
	c := Conversation{&conversation{org: o}}
	if c.err = o.check(); c.err != nil {
		return c
	}
	if o.directory {
		c.err = invalid("a conversation belongs to an organisation")
		return c
	}
	if c.phone, c.err = o.cache.phone(phone); c.err == nil {
		c.name = o.conversationKey(c.phone)
	}
	return c
}

// check returns why the conversation cannot be used.
func (c Conversation) check() error {
	if c.conversation == nil {
		return invalid("the zero Conversation belongs to no cache; use Org.Conversation")
	}
	return c.err
}

// Phone returns the phone in E.164 form; empty where it is not possible.
func (c Conversation) Phone() string {
	if c.conversation == nil {
		return ""
	}
	return c.phone.String()
}

func (o Org) conversationKey(p keys.Phone) keys.Key {
	return o.cache.space.Key(keys.Conversations, o.org, p.DigitsID())
}

func (c *Cache) limits() engine.Limits {
	o := c.opts.Conversation
	return engine.Limits{
		TTL: o.TTL, MaxLife: o.MaxLife, CompressAbove: o.CompressAbove,
		Window: store.Window{
			Messages: o.Window, Slack: windowSlack, Bytes: o.WindowBytes, IDs: rememberedIDs,
		},
	}
}

// Appended is the answer to an append.
type Appended struct {
	// Appended and Duplicates count the messages that were new and those that
	// were stored before.
	Appended, Duplicates int
	// Messages has an entry for each message, in the order given.
	Messages []Stored
	// Pending is set when the write is kept here and not yet in the shared store.
	Pending bool
}

// Stored tells what became of one message.
type Stored struct {
	ID        string
	Version   Version
	Duplicate bool
}

// Append adds messages at the end, all or none. A message whose id is stored
// already is not stored again, and is answered with what is stored. When Append
// returns nil the messages are not lost: they are in Redis and in the journal, or,
// while Redis is away (Appended.Pending), on the journal's disk, from where they
// get to Redis, each once.
//
// Errors: ErrInvalid, ErrTooLarge, ErrConflict (as ConflictError), ErrJournal and
// ErrUnavailable (nothing was stored), ErrUnknown, ErrFull, ErrRejected. After
// ErrUnknown it is safe to append the same messages, with ids, again.
func (c Conversation) Append(ctx context.Context, msgs ...Message) (Appended, error) {
	if len(msgs) == 0 && c.check() == nil {
		return Appended{}, invalid("no messages to append")
	}
	return c.write(ctx, "append", msgs, (*engine.Engine).Append)
}

// Replace puts msgs in the place of everything that was written to the
// conversation before.
func (c Conversation) Replace(ctx context.Context, msgs ...Message) (Appended, error) {
	return c.write(ctx, "replace", msgs, (*engine.Engine).Replace)
}

// Clear removes everything that was written to the conversation before. Older
// messages that arrive later, from another server's replay, stay away.
func (c Conversation) Clear(ctx context.Context) error {
	if err := c.check(); err != nil {
		return err
	}
	_, err := c.org.cache.engine.Replace(ctx, c.key(), nil, c.org.cache.limits())
	return mapError(ctx, "clear", err)
}

func (c Conversation) key() keys.Key { return c.name }

type writeFunc func(*engine.Engine, context.Context, keys.Key, []engine.Message, engine.Limits) (engine.Written, error)

func (c Conversation) write(ctx context.Context, what string, msgs []Message, write writeFunc) (Appended, error) {
	if err := c.check(); err != nil {
		return Appended{}, err
	}
	batch, err := c.org.cache.prepare(msgs)
	if err != nil {
		return Appended{}, err
	}
	res, err := write(c.org.cache.engine, ctx, c.key(), batch, c.org.cache.limits())
	if errors.Is(err, engine.ErrConflict) {
		return Appended{}, fmt.Errorf("%s: %w", what, &ConflictError{ID: res.ConflictID})
	}
	if err != nil {
		return Appended{}, mapError(ctx, what, err)
	}
	return toAppended(batch, res), nil
}

func toAppended(batch []engine.Message, res engine.Written) Appended {
	a := Appended{Messages: make([]Stored, len(batch)), Pending: res.Pending}
	for i, p := range res.Placed {
		a.Messages[i] = Stored{ID: batch[i].ID, Version: toVersion(p.Order.Version), Duplicate: p.Duplicate}
		if p.Duplicate {
			a.Duplicates++
		} else {
			a.Appended++
		}
	}
	return a
}

// prepare checks a batch and completes its messages. An id that comes twice
// with one content is refused, too: the answer has one entry for each message.
func (c *Cache) prepare(msgs []Message) ([]engine.Message, error) {
	o := c.opts.Conversation
	if len(msgs) > o.Batch {
		return nil, fmt.Errorf("%w: %d messages in one call; allowed are %d", ErrTooLarge, len(msgs), o.Batch)
	}
	batch := make([]engine.Message, len(msgs))
	var ids map[string]bool
	if len(msgs) > 1 {
		ids = make(map[string]bool, len(msgs))
	}
	for i, m := range msgs {
		built := m.JSON == nil
		m, err := m.complete()
		if err != nil {
			return nil, fmt.Errorf("message %d: %w", i, err)
		}
		if len(m.JSON) > o.MessageBytes {
			return nil, fmt.Errorf("%w: message %d has %d bytes; allowed are %d", ErrTooLarge, i, len(m.JSON), o.MessageBytes)
		}
		if ids[m.ID] {
			return nil, invalid("message %d: id %q comes twice in one call", i, m.ID)
		}
		if ids != nil {
			ids[m.ID] = true
		}
		if !built {
			m.JSON = bytes.Clone(m.JSON) // the caller's
		}
		batch[i] = engine.Message{ID: m.ID, Digest: m.digest(), Payload: m.JSON}
	}
	return batch, nil
}

// ReadOptions restricts a read to the newest messages that fit. Zero fields
// mean no restriction but the conversation's window.
type ReadOptions struct {
	// Last is the most messages.
	Last int
	// MaxBytes is the most bytes of JSON, all messages together.
	MaxBytes int
	// MaxTokens is the most tokens, as EstimateTokens counts them.
	MaxTokens int
	// Shared says that the caller changes nothing of what it gets: others may get the
	// same. Reads of a copy in this process are quickest so.
	Shared bool
}

// Transcript is messages of a conversation, oldest first.
type Transcript struct {
	Messages []Message
	// Complete is false when earlier messages of the window may be missing: the
	// store is away, and these are what this instance knows of; or together they
	// expand to more than eight times the window's bytes.
	Complete bool
	Source   Source
	// Age is how long ago this was last known to be all, as that of an Entry.
	Age time.Duration
}

// RawTranscript is a Transcript as JSON.
type RawTranscript struct {
	Messages []json.RawMessage // the caller's
	Version  Version           // of the newest message
	Complete bool
	Source   Source
	// Age is how long ago this was last known to be all, as that of an Entry, and
	// measured of copies, too.
	Age time.Duration
}

// Messages returns the newest messages that fit, oldest first. A conversation
// that does not exist has none.
func (c Conversation) Messages(ctx context.Context, o ReadOptions) (Transcript, error) {
	var log engine.Log
	if err := c.read(ctx, &o, &log); err != nil {
		return Transcript{}, err
	}
	if log.Copy != nil && o.MaxBytes == 0 && o.MaxTokens == 0 && log.Copy.Fits(c.org.cache.opts.Conversation.WindowBytes) {
		all, err := decodeLog(log.Copy)
		if err != nil {
			return Transcript{}, err
		}
		all = all[len(all)-len(log.Messages):]
		if !o.Shared {
			all = own(all)
		}
		return Transcript{Messages: all, Complete: true, Source: Source(log.Source)}, nil
	}
	raw, err := fit(log, o, c.org.cache.opts.Conversation.WindowBytes)
	if err != nil {
		return Transcript{}, err
	}
	t := Transcript{Messages: make([]Message, len(raw.Messages)), Complete: raw.Complete, Source: raw.Source, Age: raw.Age}
	for i, j := range raw.Messages {
		if t.Messages[i], err = parseMessage(gjson.ParseBytes(j)); err != nil {
			return Transcript{}, fmt.Errorf("%w: message: %w", ErrCorrupt, err)
		}
	}
	return t, nil
}

// Raw is Messages without decoding: the bytes are those that were stored.
func (c Conversation) Raw(ctx context.Context, o ReadOptions) (RawTranscript, error) {
	var log engine.Log
	if err := c.read(ctx, &o, &log); err != nil {
		return RawTranscript{}, err
	}
	raw, err := fit(log, o, c.org.cache.opts.Conversation.WindowBytes)
	if log.Copy != nil && raw.Source == SourceNear {
		raw.Age = c.org.cache.engine.ProofAge(c.name)
	}
	if log.Copy != nil && !o.Shared {
		for i, m := range raw.Messages {
			raw.Messages[i] = slices.Clone(m)
		}
	}
	return raw, err
}

// read reads into log, which is zero.
func (c Conversation) read(ctx context.Context, o *ReadOptions, log *engine.Log) error {
	if err := c.check(); err != nil {
		return err
	}
	if o.Last < 0 || o.MaxBytes < 0 || o.MaxTokens < 0 {
		return invalid("ReadOptions must not be negative: %+v", *o)
	}
	cache := c.org.cache
	want := cache.opts.Conversation.Window
	if o.Last > 0 {
		want = min(want, o.Last)
	}
	if err := cache.engine.MessagesAt(ctx, &c.name, &c.handle, want, log); err != nil {
		return mapError(ctx, "messages", err)
	}
	cache.conversations.count(len(log.Messages) > 0)
	return nil
}

// decodedShare is how much larger than the window's bytes, which count what is
// stored, a read may become when compressed messages are expanded.
const decodedShare = 8

// fit takes messages from the newest back while they fit.
func fit(log engine.Log, o ReadOptions, windowBytes int) (RawTranscript, error) {
	t := RawTranscript{Complete: !log.Partial, Source: Source(log.Source), Age: log.Age}
	n := len(log.Messages)
	if n == 0 {
		return t, nil
	}
	t.Version = toVersion(log.Messages[n-1].Order.Version)
	out := make([]json.RawMessage, n)
	first, bytes, tokens, stored := n, 0, 0, 0
	most := decodedShare * windowBytes
	for i := n - 1; i >= 0; i-- {
		m := log.Messages[i]
		payload, err := m.Payload()
		if err != nil {
			return RawTranscript{}, fmt.Errorf("%w: message %q: %w", ErrCorrupt, m.ID, err)
		}
		stored += len(m.Stored)
		bytes += len(payload)
		if o.MaxTokens > 0 {
			tokens += EstimateTokens(payload)
		}
		over := o.MaxBytes > 0 && bytes > o.MaxBytes || o.MaxTokens > 0 && tokens > o.MaxTokens
		if over || stored > windowBytes && first < n {
			break
		}
		if bytes > most && first < n {
			t.Complete = false
			break
		}
		first = i
		out[i] = payload
	}
	t.Messages = out[first:]
	return t, nil
}

// EstimateTokens estimates what a message, as JSON, costs a language model: a
// token for every four characters of content, rounded up, and four for the
// frame. Tokenizers differ; leave a margin.
func EstimateTokens(message []byte) int {
	content := gjson.GetBytes(message, "content")
	return (utf8.RuneCountInString(contentText(content))+3)/4 + 4
}
