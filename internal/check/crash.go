package check

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
)

// killAfter is how many messages are acknowledged before the process is killed.
const killAfter = 100

// victim is what the process that is killed is told.
type victim struct {
	DataDir    string `json:"dataDir"`
	Production bool   `json:"production"`
	Org        string `json:"org"`
	// Away: it has a Redis that it cannot reach, and a journal.
	Away bool `json:"away"`
}

func (v victim) open(ctx context.Context) (*assistant.Assistant, error) {
	o := jackcache.Options{
		DataDir: v.DataDir, Production: v.Production,
		Conversation: jackcache.ConversationOptions{Window: window},
	}
	if v.Away {
		closed := newGate(nil)
		closed.cut()
		o.Redis = &jackcache.RedisOptions{Dial: closed.Dial}
		o.Logger = slog.New(slog.DiscardHandler)
		patient(&o)
	}
	return assistant.Open(ctx, o, assistant.TTLs{})
}

// conversation returns the conversation of message n; none reaches the window.
func (v victim) conversation(a *assistant.Assistant, n int) jackcache.Conversation {
	return a.Cache.Org(v.Org).Conversation(phone(n / perPhone))
}

// Victim is the process that the failover kills: it writes
// messages and prints the number of each that was acknowledged, until it is
// killed or ctx ends. Its input says where.
func Victim(ctx context.Context, in io.Reader, out io.Writer) error {
	var v victim
	if err := json.NewDecoder(in).Decode(&v); err != nil {
		return fmt.Errorf("read what to do: %w", err)
	}
	a, err := v.open(ctx)
	if err != nil {
		return err
	}
	for n := 0; ; n++ {
		if _, err := v.conversation(a, n).Append(ctx, message(fmt.Sprintf("m%d", n), "hello")); err != nil {
			return errors.Join(err, closing(a))
		}
		if _, err := fmt.Fprintln(out, n); err != nil {
			return errors.Join(err, closing(a))
		}
	}
}

// crash kills a process while it writes to an embedded store of its own, opens
// what is left, and finds all that was acknowledged.
func (s *session) crash(ctx context.Context) (string, error) {
	v := victim{DataDir: filepath.Join(s.dir, "crash"), Production: s.o.Cache.Production, Org: s.org("failover")}
	s.step("kill a process that writes")
	acked, err := s.kill(ctx, v)
	if err != nil {
		return "", err
	}
	s.step("open what is left")
	start := time.Now()
	a, err := v.open(ctx)
	if err != nil {
		return "", doing("open the store of the process that was killed", err)
	}
	defer func() { _ = closing(a) }() // what counts was read
	opened := time.Since(start)
	s.step("read what was acknowledged")
	if n, err := v.missing(ctx, a, acked); err != nil {
		return "", doing("read what was acknowledged", err)
	} else if n < acked {
		return "", forgetful(n, acked)
	}
	return fmt.Sprintf("killed (SIGKILL) while it wrote: %d acknowledged and there; opened again in %s", acked, shown(opened)), nil
}

// crashAway kills a process while it writes to a journal with Redis away. An
// instance over what is left brings all that was acknowledged to Redis, where
// another one finds it.
func (s *session) crashAway(ctx context.Context, r *Outage) error {
	v := victim{DataDir: filepath.Join(s.dir, "crash"), Production: s.o.Cache.Production, Org: s.org("crash"), Away: true}
	s.step("kill a process that writes while redis is away")
	acked, err := s.kill(ctx, v)
	if err != nil {
		return err
	}
	r.Killed = acked
	s.step("open what is left")
	c, err := s.open(ctx, func(o *jackcache.Options) { patient(o); o.DataDir = v.DataDir })
	if err != nil {
		return doing("open what is left of the process that was killed", err)
	}
	defer func() { _ = closing(c) }() // what counts is read by another instance
	s.step("read what it had acknowledged")
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for end := time.Now().Add(min(s.o.Patience, arrivalTime)); ; {
		n, err := v.missing(ctx, s.a, acked)
		switch {
		case err == nil && n == acked:
			return nil
		case err != nil && !typed(err):
			return doing("read what the process that was killed had acknowledged", err)
		case time.Now().After(end) && err != nil:
			return doing("read what the process that was killed had acknowledged", err)
		case time.Now().After(end):
			return forgetful(n, acked)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// missing returns the first of n messages that is not there exactly once; n:
// none.
func (v victim) missing(ctx context.Context, a *assistant.Assistant, n int) (int, error) {
	for i := range n {
		t, err := v.conversation(a, i).Messages(ctx, jackcache.ReadOptions{})
		if err != nil {
			return 0, err
		}
		times := 0
		for _, id := range ids(t.Messages) {
			if id == fmt.Sprintf("m%d", i) {
				times++
			}
		}
		if times != 1 {
			return i, nil
		}
	}
	return n, nil
}

func forgetful(n, acked int) error {
	return wrong("the disk forgets what it has confirmed: put JACKCACHE_DATA_DIR on a local file system that keeps what is synced", "message %d of %d acknowledged ones is gone", n, acked)
}

// kill returns how many messages the process acknowledged before it was killed.
func (s *session) kill(ctx context.Context, v victim) (acked int, err error) {
	if s.o.Victim == nil {
		return 0, wrong("run 'jackcache check'", "there is no process that could be killed")
	}
	cmd := s.o.Victim()
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, doing("start a process", err)
	}
	dead := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() }) // fails where it has ended
	defer dead()
	late := time.AfterFunc(s.o.Patience, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	err = errors.Join(json.NewEncoder(in).Encode(v), in.Close())
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if lines.Text() != fmt.Sprint(acked) {
			continue // cut off by its end
		}
		if acked++; acked == killAfter {
			_ = cmd.Process.Kill() // what it acknowledges until it is dead counts, too
		}
	}
	_ = cmd.Wait() // it was killed
	if acked < killAfter {
		return acked, errors.Join(fmt.Errorf("the process that was to be killed acknowledged %d messages only", acked), err, ctx.Err())
	}
	return acked, nil
}
