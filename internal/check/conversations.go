package check

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
)

// conversationCaching keeps a conversation and its summary: in order, each
// message once, and no more than the window.
func (s *session) conversationCaching(ctx context.Context) (string, error) {
	onA, onB := s.both("conversation")
	all := window + window/2
	s.step("append")
	var want []string
	for i := range all {
		id := fmt.Sprintf("m%d", i)
		// Two servers answer one customer in turns, and read before they answer.
		c := []jackcache.Org{onA, onB}[i%2].Conversation(phone(1))
		if _, err := c.Messages(ctx, jackcache.ReadOptions{Last: 1}); err != nil {
			return "", doing("read", err)
		}
		if _, err := c.Append(ctx, message(id, "message "+id)); err != nil {
			return "", doing("append", err)
		}
		want = append(want, id)
	}
	s.step("append again")
	if err := repeated(ctx, onB, want[all-1]); err != nil {
		return "", err
	}
	s.step("read the conversation")
	for _, org := range []jackcache.Org{onA, onB} {
		if err := holds(ctx, org, phone(1), want[all-window:]); err != nil {
			return "", err
		}
	}
	s.step("clear")
	if err := onA.Conversation(phone(1)).Clear(ctx); err != nil {
		return "", doing("clear", err)
	}
	if err := holds(ctx, onB, phone(1), nil); err != nil {
		return "", doing("after a clear", err)
	}
	if err := s.summary(ctx, onA, onB); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d messages in order, each once, the newest %d kept; summary%s", all, window, s.seen()), nil
}

// repeated sends a message again, as a webhook that is delivered twice does, and
// another one under its id.
func repeated(ctx context.Context, org jackcache.Org, id string) error {
	c := org.Conversation(phone(1))
	res, err := c.Append(ctx, message(id, "message "+id))
	if err != nil {
		return doing("append it again", err)
	}
	if res.Duplicates != 1 || res.Appended != 0 {
		return wrong(strangers, "message %s was stored twice", id)
	}
	if _, err := c.Append(ctx, message(id, "other words")); !errors.Is(err, jackcache.ErrConflict) {
		return doing("append other words under its id", unexpected(err, "success"))
	}
	return nil
}

// holds reports what a conversation has other than the messages with these ids,
// in this order.
func holds(ctx context.Context, org jackcache.Org, phone string, want []string) error {
	t, err := org.Conversation(phone).Messages(ctx, jackcache.ReadOptions{})
	if err != nil {
		return doing("read the conversation", err)
	}
	got := ids(t.Messages)
	if len(got) != len(want) {
		return wrong(strangers, "the conversation has %d messages, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			return wrong(strangers, "message %d of the conversation is %s, want %s", i+1, got[i], want[i])
		}
	}
	return nil
}

func (s *session) summary(ctx context.Context, onA, onB jackcache.Org) error {
	const words = "wants a blue one"
	s.step("keep a summary")
	if _, err := s.a.Kinds.Summary.Set(ctx, onA, phone(1), assistant.Summary{Text: words}); err != nil {
		return doing("set the summary", err)
	}
	s.step("read the summary")
	got, err := s.b.Kinds.Summary.Get(ctx, onB, phone(1))
	if err == nil && got.Text != words {
		err = wrong(strangers, "it is %q, want %q", got.Text, words)
	}
	return doing("get the summary", err)
}
