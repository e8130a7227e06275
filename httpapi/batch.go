package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/bytedance/sonic"
	"github.com/tidwall/gjson"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
)

const (
	// maxConversations bounds the conversations in one batch, each of which may
	// be as large as its window.
	maxConversations = 16
	// maxBatchBytes bounds the values in one answer, all together.
	maxBatchBytes = 32 << 20
	// valuesAtOnce is how many values are read before their size is looked at.
	valuesAtOnce = 16
)

// wanted is what a read asks for.
type wanted struct {
	kind, id string
	last     int
}

func (w wanted) conversation() bool { return w.kind == jackcache.ConversationKind }

// read is one read of a batch, and what it found.
type read struct {
	wanted
	raw jackcache.RawKind // not for conversations
	result
}

type result struct {
	found    bool
	value    []byte
	version  jackcache.Version
	source   jackcache.Source
	complete bool // of a conversation
}

// batch answers several reads in their order: all, each as it would be alone, or the
// error of one.
func (s *Server) batch(x *exchange) error {
	body, _, err := x.object()
	if err != nil {
		return err
	}
	reads, err := s.parseReads(body)
	if err != nil {
		return err
	}
	if err := s.batches.enter(x.r.Context()); err != nil {
		return err
	}
	defer s.batches.leave()
	if err := s.readAll(x.r.Context(), s.org(x), reads); err != nil {
		return err
	}
	size := 32
	for i := range reads {
		size += len(reads[i].value) + len(reads[i].kind) + len(reads[i].id) + 96
	}
	b := buffer()
	defer release(b)
	b.Grow(size)
	out := append(b.AvailableBuffer(), `{"results":[`...)
	for i := range reads {
		if i > 0 {
			out = append(out, ',')
		}
		out = reads[i].append(out)
	}
	return x.send(http.StatusOK, asJSON, append(out, ']', '}', '\n'))
}

func (r *read) append(dst []byte) []byte {
	dst = append(dst, `{"kind":`...)
	dst = appendString(dst, r.kind)
	dst = append(dst, `,"id":`...)
	dst = appendString(dst, r.id)
	dst = append(dst, `,"found":`...)
	dst = strconv.AppendBool(dst, r.found)
	if r.found {
		dst = append(dst, `,"value":`...)
		dst = append(dst, r.value...)
		dst = append(dst, `,"version":"`...)
		dst = append(dst, r.version...)
		dst = append(dst, '"')
	}
	if r.source == jackcache.SourcePending || r.source == jackcache.SourceStale {
		dst = append(dst, `,"source":"`...)
		dst = append(dst, r.source.String()...)
		dst = append(dst, '"')
	}
	if r.conversation() {
		dst = append(dst, `,"complete":`...)
		dst = strconv.AppendBool(dst, r.complete)
	}
	return append(dst, '}')
}

func (s *Server) parseReads(body gjson.Result) (reads []read, err error) {
	var list gjson.Result
	body.ForEach(func(key, v gjson.Result) bool {
		if key.Str != "reads" {
			err = invalid("unknown field %.80q; allowed is reads", key.Str)
		}
		list = v
		return err == nil
	})
	if err != nil {
		return nil, err
	}
	if !list.IsArray() {
		return nil, invalid(`want {"reads":[{"kind":"…","id":"…"}]}`)
	}
	conversations := 0
	list.ForEach(func(_, v gjson.Result) bool {
		var r read
		if r, err = s.parseRead(v); err != nil {
			err = fmt.Errorf("read %d: %w", len(reads), err)
			return false
		}
		if r.conversation() {
			conversations++
		}
		reads = append(reads, r)
		if len(reads) > jackcache.MaxReads || conversations > maxConversations {
			err = fmt.Errorf("%w: allowed are %d reads in one call, %d of them conversations", jackcache.ErrTooLarge, jackcache.MaxReads, maxConversations)
		}
		return err == nil
	})
	return reads, err
}

func (s *Server) parseRead(v gjson.Result) (r read, err error) {
	if !v.IsObject() {
		return r, invalid("want an object, got %s", typeName(v))
	}
	v.ForEach(func(key, v gjson.Result) bool {
		switch {
		case key.Str == "last" && v.Type == gjson.Number:
			r.last, err = strconv.Atoi(v.Raw)
			if err != nil || r.last < 1 || r.last > jackcache.MaxWindow {
				err = invalid(`"last" is %.40s: allowed are 1 to %d`, v.Raw, jackcache.MaxWindow)
			}
		case key.Str == "kind" && v.Type == gjson.String:
			r.kind = v.Str
		case key.Str == "id" && v.Type == gjson.String:
			r.id = v.Str
		default:
			err = invalid(`field %.80q is %s: allowed are "kind" and "id", strings, and "last", a number`, key.Str, typeName(v))
		}
		return err == nil
	})
	if err != nil || r.conversation() {
		return r, err
	}
	if r.last != 0 {
		return r, invalid(`"last" is for %s`, jackcache.ConversationKind)
	}
	r.raw, err = s.a.Cache.RawKind(r.kind)
	return r, err
}

// readAll reads what the reads want, each thing once however often it is
// wanted. It ends as soon as the answer would be too large.
func (s *Server) readAll(ctx context.Context, org jackcache.Org, reads []read) error {
	var (
		first    = make([]int, len(reads)) // the first read of the same
		known    = make(map[wanted]int, len(reads))
		times    = make(map[wanted]int, len(reads))
		values   []*read
		answered int
	)
	for i := range reads {
		r := &reads[i]
		at, again := known[r.wanted]
		if !again {
			at, known[r.wanted] = i, i
			if !r.conversation() {
				values = append(values, r)
			}
		}
		first[i] = at
		times[r.wanted]++
	}
	add := func(r *read) error {
		if r.found {
			answered += len(r.value) * times[r.wanted]
		}
		if answered > maxBatchBytes {
			return fmt.Errorf("%w: the values of this batch have more than %d bytes, which is allowed for all together; read fewer in one call", jackcache.ErrTooLarge, maxBatchBytes)
		}
		return nil
	}
	for some := range slices.Chunk(values, valuesAtOnce) {
		if err := s.values(ctx, org, some, add); err != nil {
			return err
		}
	}
	for i := range reads {
		r := &reads[i]
		if first[i] != i {
			r.result = reads[first[i]].result
			continue
		}
		if !r.conversation() {
			continue
		}
		err := r.messages(ctx, org)
		if err == nil {
			err = add(r)
		}
		if err != nil {
			return fmt.Errorf("read %d: %w", i, err)
		}
	}
	return nil
}

func (r *read) messages(ctx context.Context, org jackcache.Org) error {
	t, err := org.Conversation(r.id).Raw(ctx, jackcache.ReadOptions{Last: r.last})
	if err != nil {
		return err
	}
	r.found, r.version, r.source, r.complete = t.Version != "", t.Version, t.Source, t.Complete
	if r.found {
		r.value = jackcache.JoinMessages(nil, t.Messages)
	}
	return nil
}

// values reads some values in one round trip.
func (s *Server) values(ctx context.Context, org jackcache.Org, some []*read, add func(*read) error) error {
	ids := make([]jackcache.KindID, len(some))
	for i, r := range some {
		ids[i] = jackcache.KindID{Kind: r.raw, ID: r.id}
	}
	es, err := org.ReadMany(ctx, ids...)
	if err != nil {
		return err
	}
	for i, e := range es {
		r := some[i]
		r.found, r.value, r.version, r.source = e.Found, e.JSON, e.Version, e.Source
		if r.found && r.kind == assistant.LeadToPhoneKind {
			if err := s.verify(ctx, org, r); err != nil {
				return err
			}
		}
		if err := add(r); err != nil {
			return err
		}
	}
	return nil
}

// verify drops a way back from a lead to a phone that belongs to another lead
// by now.
func (s *Server) verify(ctx context.Context, org jackcache.Org, r *read) error {
	var hint assistant.Phone
	if err := sonic.Unmarshal(r.value, &hint); err != nil {
		return fmt.Errorf("%w: way back from a lead: %w", jackcache.ErrCorrupt, err)
	}
	owner, err := s.a.LeadOf(ctx, org, hint.Phone)
	if err != nil && !errors.Is(err, jackcache.ErrNotFound) {
		return err
	}
	if r.found = err == nil && owner == r.id; !r.found {
		r.source = 0
	}
	return nil
}
