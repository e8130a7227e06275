package migrate

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/jackcache/jackcache"
)

// apply merges one entry into the cache. It can be repeated.
func (im *importer) apply(ctx context.Context, e entry) (jackcache.ImportOutcome, int, error) {
	switch {
	case e.form == messageForm:
		return im.conversation(ctx, e)
	case im.o.DryRun:
		outcome, err := im.compare(ctx, e)
		return outcome, 0, err
	case e.form == leadForm && e.orgID != "":
		outcome, err := im.link(ctx, e)
		return outcome, 0, err
	}
	outcome, err := importValue(ctx, e.org, e.raw, e.id, e.value)
	return outcome, 0, err
}

// importValue is Org.ImportValue with a second try where the value was set
// aside: imports are ordered by milliseconds, and the line before may have
// written the same key within this one. What is newer for another reason wins
// again.
func importValue(ctx context.Context, o jackcache.Org, kind jackcache.RawKind, id string, value []byte) (jackcache.ImportOutcome, error) {
	outcome, err := o.ImportValue(ctx, kind, id, value)
	if err != nil || outcome != jackcache.SetAside {
		return outcome, err
	}
	if err := pause(ctx, 2*time.Millisecond); err != nil {
		return 0, err
	}
	return o.ImportValue(ctx, kind, id, value)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (im *importer) conversation(ctx context.Context, e entry) (jackcache.ImportOutcome, int, error) {
	msgs, err := jackcache.ParseMessages(e.value)
	if err != nil {
		return 0, 0, err
	}
	conv := e.org.Conversation(e.id)
	if im.o.DryRun {
		outcome, err := compareMessages(ctx, conv, msgs)
		return outcome, len(msgs), err
	}
	outcome, err := conv.Import(ctx, msgs...)
	return outcome, len(msgs), err
}

// link imports the mapping of a phone, and the way back from its lead. The
// mapping comes first: where it is set aside, because the person was forgotten,
// the way back must not appear either.
func (im *importer) link(ctx context.Context, e entry) (jackcache.ImportOutcome, error) {
	outcome, err := importValue(ctx, e.org, e.raw, e.id, e.value)
	if err != nil || outcome == jackcache.SetAside {
		return outcome, err
	}
	if outcome == jackcache.Unchanged {
		if ok, err := im.ledBack(ctx, e); err != nil || ok {
			return outcome, err
		}
	}
	hint, err := object("phone", e.id)
	if err != nil {
		return 0, err
	}
	raw, err := im.a.Cache.RawKind(im.a.Kinds.LeadToPhone.Info().Name)
	if err != nil {
		return 0, err
	}
	back, err := importValue(ctx, e.org, raw, e.refer, hint)
	if err != nil {
		return 0, err
	}
	if back == jackcache.Imported {
		outcome = back
	}
	return outcome, nil
}

// ledBack reports whether the lead of a stored mapping leads back to its phone,
// or to another phone that was mapped to it later. Without the second, two
// phones of one lead would take the way back from each other at each import.
func (im *importer) ledBack(ctx context.Context, e entry) (bool, error) {
	hint, err := im.a.Kinds.LeadToPhone.Get(ctx, e.org, e.refer)
	if errors.Is(err, jackcache.ErrNotFound) {
		return false, nil
	}
	if err != nil || hint.Phone == e.id {
		return err == nil, err
	}
	pair, err := im.a.Kinds.PhoneToLead.GetMany(ctx, e.org, e.id, hint.Phone)
	if err != nil {
		return false, err
	}
	own, other := pair[0], pair[1]
	return other.Value.LeadID == e.refer && other.Version >= own.Version, nil
}

// compare tells what an import would do, without doing it.
func (im *importer) compare(ctx context.Context, e entry) (jackcache.ImportOutcome, error) {
	present, err := e.raw.Get(ctx, e.org, e.id)
	if err != nil {
		return 0, err
	}
	if present.Found && bytes.Equal(present.JSON, e.value) {
		return jackcache.Unchanged, nil
	}
	return jackcache.Imported, nil
}

func compareMessages(ctx context.Context, conv jackcache.Conversation, msgs []jackcache.Message) (jackcache.ImportOutcome, error) {
	stored, err := conv.Messages(ctx, jackcache.ReadOptions{})
	if err != nil {
		return 0, err
	}
	type content struct {
		role, text string
		millis     int64
	}
	of := func(m jackcache.Message) content { return content{m.Role, m.Content, m.Timestamp.UnixMilli()} }
	ids, contents := make(map[string]bool), make(map[content]bool)
	for _, m := range stored.Messages {
		ids[m.ID], contents[of(m)] = true, true
	}
	for _, m := range msgs {
		if !ids[m.ID] && !contents[of(m)] {
			return jackcache.Imported, nil
		}
	}
	return jackcache.Unchanged, nil
}
