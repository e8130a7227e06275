package assistant

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackcache/jackcache"
)

// Assistant is a cache with the kinds of an assistant. Safe for concurrent use.
type Assistant struct {
	Cache *jackcache.Cache
	Kinds Kinds
}

// Open opens a cache with the kinds of an assistant, and any that o has.
func Open(ctx context.Context, o jackcache.Options, t TTLs) (*Assistant, error) {
	kinds := NewKinds(t)
	o.Kinds = append(kinds.All(), o.Kinds...)
	cache, err := jackcache.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	return &Assistant{Cache: cache, Kinds: kinds}, nil
}

// Close closes the cache.
func (a *Assistant) Close(ctx context.Context) error { return a.Cache.Close(ctx) }

// Link says that a phone belongs to a lead. The directory is given with
// Cache.Directory; it has no way back from lead to phone.
func (a *Assistant) Link(ctx context.Context, o jackcache.Org, phone, lead string) error {
	if lead == "" {
		return fmt.Errorf("%w: the lead id is empty", jackcache.ErrInvalid)
	}
	e164, err := a.Cache.NormalizePhone(phone)
	if err != nil {
		return err
	}
	if o.IsDirectory() {
		_, err := a.Kinds.PhoneToLead.Set(ctx, o, e164, Lead{LeadID: lead})
		return err
	}
	if err := jackcache.CheckID(lead); err != nil {
		return err
	}
	// The truth first: a hint without it would hide the phone that it replaces.
	if _, err := a.Kinds.PhoneToLead.Set(ctx, o, e164, Lead{LeadID: lead}); err != nil {
		return err
	}
	if _, err = a.Kinds.LeadToPhone.Set(ctx, o, lead, Phone{Phone: e164}); err != nil {
		// The first half is stored: that must not read as "nothing was".
		return fmt.Errorf("%w: the phone is linked, the way back is not; repeat it: %w", jackcache.ErrUnknown, err)
	}
	return nil
}

// LeadOf returns the lead that a phone belongs to, or jackcache.ErrNotFound.
func (a *Assistant) LeadOf(ctx context.Context, o jackcache.Org, phone string) (string, error) {
	l, err := a.Kinds.PhoneToLead.Get(ctx, o, phone)
	return l.LeadID, err
}

// PhoneOf returns the phone of a lead in E.164 form, or jackcache.ErrNotFound.
// The hint is verified: a phone that belongs to another lead by now is not
// returned.
func (a *Assistant) PhoneOf(ctx context.Context, o jackcache.Org, lead string) (string, error) {
	p, err := a.Kinds.LeadToPhone.Get(ctx, o, lead)
	if err != nil {
		return "", err
	}
	owner, err := a.LeadOf(ctx, o, p.Phone)
	if err != nil {
		return "", err
	}
	if owner != lead {
		return "", fmt.Errorf("phone of lead %s: %w", lead, jackcache.ErrNotFound)
	}
	return p.Phone, nil
}

// UnlinkPhone removes the mapping of a phone, and the way back to it.
func (a *Assistant) UnlinkPhone(ctx context.Context, o jackcache.Org, phone string) error {
	lead, err := a.LeadOf(ctx, o, phone)
	if errors.Is(err, jackcache.ErrNotFound) {
		// A tombstone keeps an older mapping away that arrives late.
		return a.Kinds.PhoneToLead.Delete(ctx, o, phone)
	}
	if err != nil {
		return err
	}
	if err := a.Kinds.PhoneToLead.Delete(ctx, o, phone); err != nil {
		return err
	}
	if o.IsDirectory() {
		return nil
	}
	return a.dropHint(ctx, o, lead, phone)
}

// dropHint removes the way back from a lead unless it leads to another phone.
func (a *Assistant) dropHint(ctx context.Context, o jackcache.Org, lead, phone string) error {
	hint, err := a.Kinds.LeadToPhone.Entry(ctx, o, lead)
	if errors.Is(err, jackcache.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	e164, err := a.Cache.NormalizePhone(phone)
	if err != nil || hint.Value.Phone != e164 {
		return err
	}
	err = a.Kinds.LeadToPhone.Delete(ctx, o, lead, jackcache.IfVersion(hint.Version))
	if errors.Is(err, jackcache.ErrPrecondition) || errors.Is(err, jackcache.ErrUnavailable) {
		// Linked anew meanwhile; or redis is away, which conditions need. A hint
		// that is left leads to a phone that does not lead back, so nobody sees it.
		return nil
	}
	return err
}

// UnlinkLead removes the mapping of a lead in both directions.
func (a *Assistant) UnlinkLead(ctx context.Context, o jackcache.Org, lead string) error {
	hint, err := a.Kinds.LeadToPhone.Get(ctx, o, lead)
	if errors.Is(err, jackcache.ErrNotFound) {
		return a.Kinds.LeadToPhone.Delete(ctx, o, lead)
	}
	if err != nil {
		return err
	}
	truth, err := a.Kinds.PhoneToLead.Entry(ctx, o, hint.Phone)
	if err != nil && !errors.Is(err, jackcache.ErrNotFound) {
		return err
	}
	if err == nil && truth.Value.LeadID == lead {
		err := a.Kinds.PhoneToLead.Delete(ctx, o, hint.Phone, jackcache.IfVersion(truth.Version))
		if err != nil && !errors.Is(err, jackcache.ErrPrecondition) {
			return err // where it is linked anew meanwhile, the new link stays
		}
	}
	return a.Kinds.LeadToPhone.Delete(ctx, o, lead)
}

// Turn is what one turn of an assistant wants to know of a customer.
type Turn struct {
	Messages []jackcache.Message
	Summary  string // empty: none
	Lead     string // empty: none
	// Complete is false where something may be missing because redis is away:
	// earlier messages, the summary or the lead.
	Complete bool
}

// Turn reads the conversation, its summary and the lead of a phone. While redis is
// away it gives what this instance knows; it returns jackcache.ErrUnavailable
// where that is nothing of the conversation.
func (a *Assistant) Turn(ctx context.Context, o jackcache.Org, phone string, r jackcache.ReadOptions) (Turn, error) {
	t, err := o.Conversation(phone).Messages(ctx, r)
	if err != nil {
		return Turn{}, err
	}
	turn := Turn{Messages: t.Messages, Complete: t.Complete}
	s, err := a.Kinds.Summary.Get(ctx, o, phone)
	if err := turn.without(err); err != nil {
		return Turn{}, err
	}
	turn.Summary = s.Text
	turn.Lead, err = a.LeadOf(ctx, o, phone)
	if err := turn.without(err); err != nil {
		return Turn{}, err
	}
	return turn, nil
}

// without notes a part that is not there, or not known; other errors it returns.
func (t *Turn) without(err error) error {
	switch {
	case err == nil, errors.Is(err, jackcache.ErrNotFound):
		return nil
	case errors.Is(err, jackcache.ErrUnavailable):
		t.Complete = false
		return nil
	}
	return err
}
