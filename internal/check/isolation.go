package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
)

// isolation keeps the same phone in two organisations, and ids that would meet
// where keys were built carelessly.
func (s *session) isolation(ctx context.Context) (string, error) {
	names := []string{"one", "two"}
	s.step("write the same phone in two organisations")
	for _, name := range names {
		org, _ := s.both(name)
		_, err1 := org.Conversation(phone(1)).Append(ctx, message("m1", "words of "+name))
		_, err2 := s.a.Kinds.Summary.Set(ctx, org, phone(1), assistant.Summary{Text: "summary of " + name})
		if err := errors.Join(err1, err2, s.a.Link(ctx, org, phone(1), "lead-of-"+name)); err != nil {
			return "", doing("write", err)
		}
	}
	s.step("read it in both")
	for _, name := range names {
		if err := s.own(ctx, name); err != nil {
			return "", err
		}
	}
	hostile, err := s.hostile(ctx)
	if err != nil {
		return "", err
	}
	s.step("forget the phone in one organisation")
	_, second := s.both("two")
	if _, err := second.Forget(ctx, phone(1)); err != nil {
		return "", doing("forget", err)
	}
	s.step("read it in the other")
	if err := s.own(ctx, "one"); err != nil {
		return "", doing("after the phone was forgotten elsewhere", err)
	}
	return fmt.Sprintf("the same phone in 2 organisations; %d hostile ids; forgotten in one, there in the other", hostile), nil
}

// own reports where an organisation has other data than its own.
func (s *session) own(ctx context.Context, name string) error {
	_, org := s.both(name)
	turn, err := s.b.Turn(ctx, org, phone(1), jackcache.ReadOptions{})
	if err != nil {
		return doing("read", err)
	}
	words := ""
	if len(turn.Messages) == 1 {
		words = turn.Messages[0].Content
	}
	for _, c := range []struct{ what, got, want string }{
		{"words", words, "words of " + name},
		{"summary", turn.Summary, "summary of " + name},
		{"lead", turn.Lead, "lead-of-" + name},
	} {
		if c.got != c.want {
			return wrong(strangers, "organisation %s has the %s %q, want %q", name, c.what, c.got, c.want)
		}
	}
	return nil
}

// hostile writes organisations and ids that mean the same where parts of a key
// are joined without escaping, and reads each back. It returns how many.
func (s *session) hostile(ctx context.Context) (int, error) {
	type place struct{ org, id string }
	base := s.org("hostile")
	places := []place{
		{base, "x:y"}, {base + ":x", "y"}, {base + "%3Ax", "y"}, {base, "x%3Ay"}, {base + ":x:y", "y"},
		{base, "*"}, {base + "*", "x"}, {base + "?", "x"}, {base + "[a]", "x"}, {base, "{x}"}, {"{" + base + "}", "x"},
		{base, "../two"}, {base + "/../two", "x"}, {base + " ", "x"}, {base, "é"}, {base, "e\u0301"},
		{base + "-é", "x"}, {base + "-É", "x"}, {base, "__proto__"}, {base + ":__gen", "x"},
	}
	value := func(i int) json.RawMessage { return json.RawMessage(fmt.Sprint(i)) }
	s.step("write hostile ids")
	for i, p := range places {
		if _, err := s.a.Kinds.AgentConfig.Set(ctx, s.a.Cache.Org(p.org), p.id, value(i)); err != nil {
			return 0, doing(fmt.Sprintf("set %q of organisation %q", p.id, p.org), err)
		}
	}
	s.step("invalidate a hostile organisation")
	const star = 6
	if err := s.a.Cache.Org(places[star].org).Invalidate(ctx); err != nil {
		return 0, doing(fmt.Sprintf("invalidate %q", places[star].org), err)
	}
	s.step("read hostile ids")
	for i, p := range places {
		got, err := s.b.Kinds.AgentConfig.Get(ctx, s.b.Cache.Org(p.org), p.id)
		switch {
		case i == star && errors.Is(err, jackcache.ErrNotFound):
		case i == star:
			return 0, doing("get what was invalidated", unexpected(err, string(got)))
		case err != nil:
			return 0, doing(fmt.Sprintf("get %q of organisation %q", p.id, p.org), err)
		case string(got) != string(value(i)):
			return 0, wrong(strangers, "%q of organisation %q is that of another: %s, want %s", p.id, p.org, got, value(i))
		}
	}
	return len(places), s.refused(ctx)
}

// refused finds out that ids without a meaning are refused, not bent.
func (s *session) refused(ctx context.Context) error {
	for _, id := range []string{"", ".", "..", "a\x00b", "a\nb", "\xff", strings.Repeat("x", 129)} {
		_, err := s.a.Kinds.AgentConfig.Get(ctx, s.a.Cache.Org(id), "x")
		if !errors.Is(err, jackcache.ErrInvalid) {
			return doing(fmt.Sprintf("an organisation called %.20q", id), unexpected(err, "an answer"))
		}
	}
	return nil
}
