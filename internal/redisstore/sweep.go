package redisstore

import (
	"context"
	_ "embed"
	"errors"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

const (
	// sweepBatch is how many keys are looked at between two pauses, and
	// sweepPause how long these are, so that callers have their turn.
	sweepBatch = 100
	sweepPause = 2 * time.Millisecond
	// sweepCount is the COUNT hint of a sweep.
	sweepCount = 500
	// sweepKnows is for how long a sweep of a Cluster takes a generation for what it
	// was: a server that was emptied has lost it, and what is written then is lower.
	sweepKnows = 100 * time.Millisecond
)

var (
	//go:embed lua/sweep_value.lua
	sweepValueSource string
	//go:embed lua/sweep_conversation.lua
	sweepConversationSource string

	sweepValue        = newScript(sweepValueSource)
	sweepConversation = newScript(sweepConversationSource)
)

// Sweep scans every master for keys of the organisation and removes those below
// its generation, each in a script that looks at the generation again, but in a
// Cluster, where it was read a moment before. A key
// whose slot moves to another master meanwhile may be missed.
func (s *Store) Sweep(ctx context.Context, o keys.Org) (int, error) {
	w := sweeper{s: s, generations: make(map[keys.Org]uint64)}
	if !o.IsZero() {
		w.orgs = map[keys.Org]bool{o: true}
	}
	err := s.scanAll(ctx, o, func(c rueidis.Client, names []string) error {
		for part := range slices.Chunk(names, sweepBatch) {
			if err := w.sweep(ctx, c, part); err != nil {
				return err
			}
			if !pause(ctx, sweepPause) {
				return ctx.Err()
			}
		}
		return nil
	})
	return w.removed, err
}

// Orgs scans every master for organisations.
func (s *Store) Orgs(ctx context.Context) ([]keys.Org, error) {
	orgs := make(map[keys.Org]bool)
	err := s.scanAll(ctx, keys.Org{}, func(_ rueidis.Client, names []string) error {
		for _, name := range names {
			if k, ok := s.ownerOf(name); ok {
				orgs[k.Org()] = true
			}
		}
		return nil
	})
	return slices.Collect(maps.Keys(orgs)), err
}

// scanAll calls f with the names of the keys of an organisation, and some of
// others, page by page and master by master.
func (s *Store) scanAll(ctx context.Context, o keys.Org, f func(c rueidis.Client, names []string) error) error {
	pattern := s.opts.Space.OrgPattern(o)
	err := s.jobOnEach(ctx, func(_ string, c rueidis.Client) error {
		for cursor := uint64(0); ; {
			page, err := c.Do(ctx, c.B().Scan().Cursor(cursor).Match(pattern).Count(sweepCount).Build()).AsScanEntry()
			if err != nil {
				return err
			}
			if err := f(c, page.Elements); err != nil {
				return err
			}
			if cursor = page.Cursor; cursor == 0 {
				return nil
			}
		}
	})
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return err
	}
	return classifyJob(err)
}

// ownerOf returns the key of a value or conversation from its name or that of
// its companion; ok is false for what belongs to no organisation.
func (s *Store) ownerOf(name string) (k keys.Key, ok bool) {
	k, err := s.opts.Space.Parse(name)
	if err != nil {
		k, err = s.opts.Space.ParseMeta(name)
	}
	return k, err == nil && !k.Org().IsZero()
}

type sweeper struct {
	s           *Store
	orgs        map[keys.Org]bool // nil: all
	generations map[keys.Org]uint64
	read        time.Time // when generations began
	removed     int
}

// sweep looks at keys of one master. The two keys of a conversation may come
// both, one after the other: the second has nothing left to remove.
func (w *sweeper) sweep(ctx context.Context, c rueidis.Client, names []string) error {
	if w.s.opts.Mode == Cluster && time.Since(w.read) > sweepKnows { // elsewhere the scripts look
		clear(w.generations)
		w.read = time.Now()
	}
	var found []keys.Key
	for _, name := range names {
		k, ok := w.s.ownerOf(name)
		if !ok || w.orgs != nil && !w.orgs[k.Org()] || slices.Contains(found, k) {
			continue
		}
		if _, known := w.generations[k.Org()]; !known {
			g, err := w.s.generationForJob(ctx, k.Org())
			if err != nil {
				return err
			}
			w.generations[k.Org()] = g
		}
		if w.generations[k.Org()] > 0 { // below zero is nothing
			found = append(found, k)
		}
	}
	if len(found) == 0 {
		return nil
	}
	commands := make(rueidis.Commands, len(found))
	for i, k := range found {
		sc, ks, args := w.script(k)
		commands[i] = c.B().Evalsha().Sha1(sc.sha).Numkeys(int64(len(ks))).Key(ks...).Arg(args...).Build()
	}
	for i, r := range c.DoMulti(ctx, commands...) {
		n, err := r.AsInt64()
		if err != nil {
			n, err = w.alone(ctx, found[i], err)
		}
		if err != nil {
			return err
		}
		w.removed += int(n)
	}
	return nil
}

func (w *sweeper) script(k keys.Key) (sc script, ks, args []string) {
	args = []string{strconv.FormatUint(w.generations[k.Org()], 10)}
	if k.Type() == keys.Conversations {
		return sweepConversation, w.s.scriptKeys(k, w.s.opts.Space.Meta(k)), args
	}
	return sweepValue, w.s.scriptKeys(k), args
}

// alone sweeps a key again where the server did not know the script, or has the
// key no more.
func (w *sweeper) alone(ctx context.Context, k keys.Key, err error) (n int64, _ error) {
	re, reply := rueidis.IsRedisErr(err)
	_, moved := redirected(err)
	if !reply || !re.IsNoScript() && !moved {
		return 0, err
	}
	sc, ks, args := w.script(k)
	err = w.s.jobOn(ctx, ks[0], func(c rueidis.Client) (err error) {
		n, err = sc.run(ctx, c, ks, args).AsInt64()
		return err
	})
	return n, err
}

var _ store.Mover = (*Store)(nil)
