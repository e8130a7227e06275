package check

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/jackcache/jackcache"
)

// leadMapping links a phone and a lead and reads both directions, in another
// spelling of the phone.
func (s *session) leadMapping(ctx context.Context) (string, error) {
	onA, onB := s.both("leads")
	const number, spelled = "+16045550101", "(604) 555-0101"
	s.step("link")
	if err := s.a.Link(ctx, onA, number, "lead-1"); err != nil {
		return "", doing("link", err)
	}
	s.step("read both directions")
	if err := s.linked(ctx, onB, "+1 "+spelled, number, "lead-1"); err != nil {
		return "", err
	}
	s.step("link the phone to another lead")
	if err := s.a.Link(ctx, onA, number, "lead-2"); err != nil {
		return "", doing("link to another lead", err)
	}
	if err := s.linked(ctx, onB, "tel:"+number, number, "lead-2"); err != nil {
		return "", err
	}
	if _, err := s.b.PhoneOf(ctx, onB, "lead-1"); !errors.Is(err, jackcache.ErrNotFound) {
		return "", doing("the phone of the lead that lost it", unexpected(err, "a phone"))
	}
	s.step("unlink")
	if err := s.a.UnlinkPhone(ctx, onA, number); err != nil {
		return "", doing("unlink", err)
	}
	if _, err := s.b.LeadOf(ctx, onB, number); !errors.Is(err, jackcache.ErrNotFound) {
		return "", doing("the lead of a phone that was unlinked", unexpected(err, "a lead"))
	}
	if _, err := s.b.PhoneOf(ctx, onB, "lead-2"); !errors.Is(err, jackcache.ErrNotFound) {
		return "", doing("the phone of a lead that was unlinked", unexpected(err, "a phone"))
	}
	return "phone to lead and lead to phone, linked, linked anew, unlinked" + s.seen(), nil
}

func (s *session) linked(ctx context.Context, org jackcache.Org, spelled, number, lead string) error {
	got, err := s.b.LeadOf(ctx, org, spelled)
	if err == nil && got != lead {
		err = wrong(strangers, "it is %q, want %q", got, lead)
	}
	if err != nil {
		return doing("the lead of a phone", err)
	}
	back, err := s.b.PhoneOf(ctx, org, lead)
	if err == nil && back != number {
		err = wrong(strangers, "it is %q, want %q", back, number)
	}
	return doing("the phone of a lead", err)
}

// organisationData keeps data of an organisation, which a load does not replace.
func (s *session) organisationData(ctx context.Context) (string, error) {
	onA, onB := s.both("organisation")
	const data = `{"name":"Check Motors","hours":"9-17"}`
	s.step("set")
	if _, err := s.a.Kinds.Organization.Set(ctx, onA, "", json.RawMessage(data)); err != nil {
		return "", doing("set", err)
	}
	s.step("get")
	got, err := s.b.Kinds.Organization.Get(ctx, onB, "")
	if err == nil && string(got) != data {
		err = wrong(strangers, "got %s, want %s", got, data)
	}
	if err != nil {
		return "", doing("get", err)
	}
	s.step("load what is not there")
	loads := 0
	for range 2 {
		if _, err := s.b.Kinds.AgentConfig.GetOrLoad(ctx, onB, "agent-1", func(context.Context) (json.RawMessage, error) {
			loads++
			return json.RawMessage(data), nil
		}); err != nil {
			return "", doing("load", err)
		}
	}
	if loads != 1 {
		return "", wrong(strangers, "what was loaded is not kept: %d loads for two reads", loads)
	}
	return "set, get; what is loaded is kept" + s.seen(), nil
}
