package httpapi

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/tidwall/gjson"

	"github.com/jackcache/jackcache"
)

func (s *Server) conversation(x *exchange) jackcache.Conversation {
	return s.org(x).Conversation(x.r.PathValue("phone"))
}

func (s *Server) getMessages(x *exchange) error {
	var (
		o   jackcache.ReadOptions
		err error
	)
	if o.Last, err = number(x.query, "last", jackcache.MaxWindow); err != nil {
		return err
	}
	if o.MaxBytes, err = number(x.query, "maxBytes", math.MaxInt32); err != nil {
		return err
	}
	if o.MaxTokens, err = number(x.query, "maxTokens", math.MaxInt32); err != nil {
		return err
	}
	t, err := s.conversation(x).Raw(x.r.Context(), o)
	if err != nil {
		return err
	}
	if t.Version == "" && t.Complete {
		return x.miss()
	}
	x.found(t.Source, t.Age)
	b := buffer()
	defer release(b)
	size := 64
	for _, m := range t.Messages {
		size += len(m) + 1
	}
	b.Grow(size)
	body := append(b.AvailableBuffer(), `{"messages":`...)
	body = jackcache.JoinMessages(body, t.Messages)
	body = append(body, `,"complete":`...)
	body = strconv.AppendBool(body, t.Complete)
	body = append(body, `,"count":`...)
	body = strconv.AppendInt(body, int64(len(t.Messages)), 10)
	return x.send(http.StatusOK, asJSON, append(body, '}', '\n'))
}

func (s *Server) appendMessages(x *exchange) error {
	msgs, err := x.messages()
	if err != nil {
		return err
	}
	a, err := s.conversation(x).Append(x.r.Context(), msgs...)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if a.Appended > 0 {
		status = http.StatusCreated
	}
	return x.appended(status, a)
}

func (s *Server) replaceMessages(x *exchange) error {
	msgs, err := x.messages()
	if err != nil {
		return err
	}
	a, err := s.conversation(x).Replace(x.r.Context(), msgs...)
	if err != nil {
		return err
	}
	return x.appended(http.StatusOK, a)
}

// countFrom is the size from which messages are counted before they are parsed.
const countFrom = 64 << 10

// messages reads a body of one message or an array of them.
func (x *exchange) messages() ([]jackcache.Message, error) {
	if err := x.unconditional(); err != nil {
		return nil, err
	}
	b, err := x.body()
	if err != nil {
		return nil, err
	}
	defer release(b)
	if b.Len() > countFrom {
		n := 0
		if v := gjson.ParseBytes(b.Bytes()); v.IsArray() {
			v.ForEach(func(_, _ gjson.Result) bool { n++; return n <= jackcache.MaxBatch })
		}
		if n > jackcache.MaxBatch {
			return nil, fmt.Errorf("%w: more than %d messages in one call", jackcache.ErrTooLarge, jackcache.MaxBatch)
		}
	}
	return jackcache.ParseMessages(b.Bytes())
}

// appended answers with what became of messages.
func (x *exchange) appended(status int, a jackcache.Appended) error {
	if a.Pending {
		status = http.StatusAccepted
	}
	b := buffer()
	defer release(b)
	b.Grow(64 + 96*len(a.Messages))
	body := append(b.AvailableBuffer(), `{"appended":`...)
	body = strconv.AppendInt(body, int64(a.Appended), 10)
	body = append(body, `,"duplicates":`...)
	body = strconv.AppendInt(body, int64(a.Duplicates), 10)
	body = append(body, `,"messages":[`...)
	for i, m := range a.Messages {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, `{"id":`...)
		body = appendString(body, m.ID)
		body = append(body, `,"version":"`...)
		body = append(body, m.Version...)
		body = append(body, `","duplicate":`...)
		body = strconv.AppendBool(body, m.Duplicate)
		body = append(body, '}')
	}
	body = append(body, `],"pending":`...)
	body = strconv.AppendBool(body, a.Pending)
	return x.send(status, asJSON, append(body, '}', '\n'))
}

func (s *Server) clearMessages(x *exchange) error {
	if err := x.unconditional(); err != nil {
		return err
	}
	ctx, receipt := x.receipt()
	if err := s.conversation(x).Clear(ctx); err != nil {
		return err
	}
	return x.done(receipt)
}

type forgotten struct {
	Phone   string   `json:"phone"`
	LeadID  string   `json:"leadId,omitempty"`
	Kinds   []string `json:"kinds"`
	Pending bool     `json:"pending"`
}

// forget answers with what was deleted, so that a request of a person can be
// documented.
func (s *Server) forget(x *exchange) error {
	if err := x.unconditional(); err != nil {
		return err
	}
	ctx, receipt := x.receipt()
	f, err := s.org(x).Forget(ctx, x.r.PathValue("phone"))
	if err != nil {
		return err
	}
	return x.sendJSON(orAccepted(receipt, http.StatusOK), forgotten{
		Phone: f.Phone, LeadID: f.Lead, Kinds: f.Kinds, Pending: receipt.Pending(),
	})
}

type listed struct {
	Phone     string            `json:"phone"`
	Messages  int               `json:"messages"`
	Bytes     int               `json:"bytes"`
	ExpiresAt time.Time         `json:"expiresAt"`
	Version   jackcache.Version `json:"version"`
}

type listing struct {
	Conversations []listed `json:"conversations"`
	Cursor        string   `json:"cursor"` // empty: there are no more
}

func (s *Server) listConversations(x *exchange) error {
	limit, err := number(x.query, "limit", jackcache.MaxList)
	if err != nil {
		return err
	}
	l, err := s.org(x).List(x.r.Context(), jackcache.ListQuery{
		Kind: jackcache.ConversationKind, Cursor: x.query.Get("cursor"), Limit: limit,
	})
	if err != nil {
		return err
	}
	out := listing{Conversations: make([]listed, len(l.Entries)), Cursor: l.Cursor}
	for i, e := range l.Entries {
		out.Conversations[i] = listed{Phone: e.ID, Messages: e.Messages, Bytes: e.Bytes, ExpiresAt: e.ExpiresAt.UTC(), Version: e.Version}
	}
	return x.sendJSON(http.StatusOK, out)
}

type invalidated struct {
	Invalidated bool `json:"invalidated" jsonschema:"Whether it has taken effect."`
	Pending     bool `json:"pending" jsonschema:"Whether it waits for the store. Until it is there other servers see what was there."`
}

func (s *Server) invalidate(x *exchange) error {
	ctx, receipt := x.receipt()
	if err := s.org(x).Invalidate(ctx); err != nil {
		return err
	}
	// What waits has not happened yet.
	return x.sendJSON(orAccepted(receipt, http.StatusOK), invalidated{Invalidated: !receipt.Pending(), Pending: receipt.Pending()})
}
