package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"

	"github.com/bytedance/sonic"
	"github.com/tidwall/gjson"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
)

const (
	// maxConversations bounds the conversations in one batch, each of which may
	// be as large as its window.
	maxConversations = 16
	// conversationsAtOnce is how many of them are read at a time.
	conversationsAtOnce = 4
)

// read is one read of a batch, and what it found.
type read struct {
	kind, id string
	last     int
	raw      jackcache.RawKind // not for conversations

	found    bool
	value    []byte
	version  jackcache.Version
	complete bool // of a conversation
}

func (r *read) conversation() bool { return r.kind == jackcache.ConversationKind }

// batch answers several reads in their order: all, or the error of one.
func (s *Server) batch(x *exchange) error {
	body, _, err := x.object()
	if err != nil {
		return err
	}
	reads, err := s.parseReads(body)
	if err != nil {
		return err
	}
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

// readAll reads the values in one round trip, and the conversations beside it.
func (s *Server) readAll(ctx context.Context, org jackcache.Org, reads []read) error {
	var (
		ids  []jackcache.KindID
		at   []int
		wg   sync.WaitGroup
		gate = make(chan struct{}, conversationsAtOnce)
		errs = make([]error, len(reads)+1)
	)
	for i := range reads {
		if !reads[i].conversation() {
			ids, at = append(ids, jackcache.KindID{Kind: reads[i].raw, ID: reads[i].id}), append(at, i)
			continue
		}
		wg.Go(func() {
			gate <- struct{}{}
			defer func() {
				if p := recover(); p != nil {
					errs[i] = panicked(p)
				}
				<-gate
			}()
			if err := reads[i].messages(ctx, org); err != nil {
				errs[i] = fmt.Errorf("read %d: %w", i, err)
			}
		})
	}
	errs[len(reads)] = s.values(ctx, org, reads, ids, at)
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *read) messages(ctx context.Context, org jackcache.Org) error {
	t, err := org.Conversation(r.id).Raw(ctx, jackcache.ReadOptions{Last: r.last})
	if err != nil {
		return err
	}
	r.found, r.version, r.complete = t.Version != "", t.Version, t.Complete
	if r.found {
		r.value = jackcache.JoinMessages(nil, t.Messages)
	}
	return nil
}

func (s *Server) values(ctx context.Context, org jackcache.Org, reads []read, ids []jackcache.KindID, at []int) error {
	if len(ids) == 0 {
		return nil
	}
	es, err := org.ReadMany(ctx, ids...)
	if err != nil {
		return err
	}
	for i, e := range es {
		r := &reads[at[i]]
		r.found, r.value, r.version = e.Found, e.JSON, e.Version
		if r.found && r.kind == assistant.LeadToPhoneKind {
			if err := s.verify(ctx, org, r); err != nil {
				return err
			}
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
	r.found = err == nil && owner == r.id
	return nil
}
