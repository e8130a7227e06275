package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
)

// revived explains data that came back after an invalidation.
const revived = "what counts the invalidations of an organisation was changed or lost: let nothing but jackcache write keys that start with %s__gen:, set maxmemory-policy to noeviction, and keep replicas in step (min-replicas-to-write)"

// invalidation makes everything of an organisation invisible, on all instances,
// and nothing of another; a load that began before does not bring it back.
func (s *session) invalidation(ctx context.Context) (string, error) {
	phones := []string{phone(1), phone(2)}
	s.step("write two phones in two organisations")
	for _, name := range []string{"invalidated", "kept"} {
		org, _ := s.both(name)
		for _, p := range phones {
			_, err1 := org.Conversation(p).Append(ctx, message("m1", "hello"))
			_, err2 := s.a.Kinds.Summary.Set(ctx, org, p, assistant.Summary{Text: "hello"})
			if err := errors.Join(err1, err2); err != nil {
				return "", doing("write", err)
			}
		}
	}
	s.step("invalidate while a load is under way")
	if err := s.invalidateDuringLoad(ctx); err != nil {
		return "", err
	}
	s.step("find it gone")
	gone, _ := s.both("invalidated")
	for _, on := range []*assistant.Assistant{s.b, s.a} {
		for _, p := range phones {
			if err := s.visible(ctx, on, "invalidated", p, 0); err != nil {
				return "", err
			}
			if err := s.visible(ctx, on, "kept", p, 1); err != nil {
				return "", err
			}
		}
		if got, err := on.Kinds.AgentConfig.Get(ctx, on.Cache.Org(gone.String()), "late"); !errors.Is(err, jackcache.ErrNotFound) {
			return "", doing("get what a late load brought", s.back(err, string(got)))
		}
	}
	s.step("write again")
	if _, err := gone.Conversation(phone(1)).Append(ctx, message("m1", "hello again")); err != nil {
		return "", doing("write after an invalidation", err)
	}
	if err := s.visible(ctx, s.b, "invalidated", phone(1), 1); err != nil {
		return "", doing("written after the invalidation", err)
	}
	return "2 phones gone on all instances, the other organisation untouched; a load from before stays invisible", nil
}

// invalidateDuringLoad invalidates between the beginning and the end of a load
// by another instance.
func (s *session) invalidateDuringLoad(ctx context.Context) error {
	onA, onB := s.both("invalidated")
	_, err := s.b.Kinds.AgentConfig.GetOrLoad(ctx, onB, "late", func(ctx context.Context) (json.RawMessage, error) {
		return json.RawMessage(`"of before"`), onA.Invalidate(ctx)
	})
	return doing("invalidate", err)
}

func (s *session) back(err error, what string) error {
	if err != nil {
		return err
	}
	return wrong(fmt.Sprintf(revived, s.report.KeyPrefix), "it is back: %s", what)
}

// visible reports where a phone has another number of messages, or of summaries.
func (s *session) visible(ctx context.Context, on *assistant.Assistant, name, phone string, want int) error {
	turn, err := on.Turn(ctx, on.Cache.Org(s.org(name)), phone, jackcache.ReadOptions{})
	if err != nil {
		return doing("read", err)
	}
	got := len(turn.Messages)
	switch {
	case want == 0 && (got > 0 || turn.Summary != ""):
		return s.back(nil, fmt.Sprintf("%d messages of an organisation that was invalidated", got))
	case got != want:
		return wrong(strangers, "the organisation that was not invalidated has %d messages of a phone, want %d", got, want)
	}
	return nil
}
