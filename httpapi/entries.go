package httpapi

import (
	"net/http"
	"strconv"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
)

// elsewhere are the kinds that have routes of their own, because a write to one
// of them is more than a value.
var elsewhere = map[string]string{
	jackcache.ConversationKind: messages,
	assistant.SummaryKind:      summary,
	assistant.PhoneToLeadKind:  phoneLead,
	assistant.LeadToPhoneKind:  leadPhone,
}

// target is the value that the path of a request names.
type target struct {
	org  jackcache.Org
	kind jackcache.RawKind
	id   string
}

func (s *Server) org(x *exchange) jackcache.Org { return s.a.Cache.Org(x.r.PathValue("org")) }

func (s *Server) entry(x *exchange) (target, error) {
	name := x.r.PathValue("kind")
	if pattern, ok := elsewhere[name]; ok {
		return target{}, invalid("kind %q has its own route: %s", name, pattern)
	}
	kind, err := s.a.Cache.RawKind(name)
	return target{org: s.org(x), kind: kind, id: x.r.PathValue("id")}, err
}

func (s *Server) getEntry(x *exchange) error {
	t, err := s.entry(x)
	if err != nil {
		return err
	}
	return x.get(t)
}

func (s *Server) putEntry(x *exchange) error {
	t, err := s.entry(x)
	if err != nil {
		return err
	}
	b, err := x.body()
	if err != nil {
		return err
	}
	defer release(b)
	return x.put(t, b.Bytes())
}

func (s *Server) deleteEntry(x *exchange) error {
	t, err := s.entry(x)
	if err != nil {
		return err
	}
	return x.delete(t)
}

// get answers with a value as it is stored.
func (x *exchange) get(t target) error {
	e, err := t.kind.Get(x.r.Context(), t.org, t.id)
	if err != nil {
		return err
	}
	if !e.Found {
		return x.miss()
	}
	x.found(e.Source, e.Age)
	x.setETag(e.Version)
	switch x.precondition(e.Version) {
	case http.StatusNotModified:
		x.WriteHeader(http.StatusNotModified)
		return nil
	case http.StatusPreconditionFailed:
		return jackcache.ErrPrecondition
	}
	return x.send(http.StatusOK, asJSON, e.JSON)
}

// put stores a value. The store does not tell whether there was one before, so
// the answer is 200 in both cases.
func (x *exchange) put(t target, value []byte) error {
	conds, err := x.entryCondition(t)
	if err != nil {
		return err
	}
	ctx, receipt := x.receipt()
	v, err := t.kind.Set(ctx, t.org, t.id, value, conds...)
	if err != nil {
		return err
	}
	x.setETag(v)
	body := append([]byte(`{"version":"`), v...)
	body = append(body, `","pending":`...)
	body = strconv.AppendBool(body, receipt.Pending())
	return x.send(orAccepted(receipt, http.StatusOK), asJSON, append(body, '}', '\n'))
}

func (x *exchange) delete(t target) error {
	conds, err := x.entryCondition(t)
	if err != nil {
		return err
	}
	ctx, receipt := x.receipt()
	if err := t.kind.Delete(ctx, t.org, t.id, conds...); err != nil {
		return err
	}
	return x.done(receipt)
}

func (x *exchange) entryCondition(t target) ([]jackcache.Condition, error) {
	conds, err := x.writeCondition()
	if err == nil && len(conds) > 0 && t.kind.Info().LocalOnly {
		err = invalid("kind %q stays in the process; its writes cannot be conditional", t.kind.Info().Name)
	}
	return conds, err
}

// Summaries are values whose text must be a string; other fields are kept.

func (s *Server) summary(x *exchange) target {
	return target{org: s.org(x), kind: s.summaries, id: x.r.PathValue("phone")}
}

func (s *Server) getSummary(x *exchange) error { return x.get(s.summary(x)) }

func (s *Server) putSummary(x *exchange) error {
	v, raw, err := x.object()
	if err != nil {
		return err
	}
	if _, err := textField(v, "text"); err != nil {
		return err
	}
	return x.put(s.summary(x), raw)
}

func (s *Server) deleteSummary(x *exchange) error { return x.delete(s.summary(x)) }
