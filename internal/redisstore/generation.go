package redisstore

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// tokenLife is how long the answer to InvalidateOnce is kept.
const tokenLife = 48 * time.Hour

// generationOf returns the key of the generation that a key's data is under;
// the directory has none.
func (s *Store) generationOf(o keys.Org) string { return s.opts.Space.Generation(o) }

func toGeneration(m rueidis.RedisMessage) (uint64, error) {
	if m.IsNil() {
		return 0, nil
	}
	text, err := m.ToString()
	if err != nil {
		return 0, classify(err, reading)
	}
	return parseGeneration(text)
}

func parseGeneration(text string) (uint64, error) {
	g, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: generation %q", store.ErrCorrupt, text)
	}
	return g, nil
}

// patient runs f where its caller belongs. One who has much more time than an
// operation gets must not share a connection with those who have not: all wait
// for a connection as long as the first of them may.
func (s *Store) patient(ctx context.Context, key string, c call, f func(rueidis.Client) error) error {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= 2*s.opts.Timeout {
		return s.on(ctx, key, c, f)
	}
	return s.jobOn(ctx, key, f)
}

// Generation reads an organisation's generation.
func (s *Store) Generation(ctx context.Context, o keys.Org) (g uint64, err error) {
	var m rueidis.RedisMessage
	key := s.generationOf(o)
	err = s.patient(ctx, key, call{"GET", 1}, func(c rueidis.Client) (err error) {
		m, err = c.Do(ctx, c.B().Get().Key(key).Build()).ToMessage()
		return err
	})
	if err := classify(err, reading); err != nil {
		return 0, err
	}
	return toGeneration(m)
}

// generationForJob is Generation on the connection for long jobs.
func (s *Store) generationForJob(ctx context.Context, o keys.Org) (g uint64, err error) {
	key := s.generationOf(o)
	err = s.jobOn(ctx, key, func(c rueidis.Client) error {
		m, err := c.Do(ctx, c.B().Get().Key(key).Build()).ToMessage()
		if err == nil || rueidis.IsRedisNil(err) {
			g, err = toGeneration(m)
		}
		return err
	})
	return g, classifyJob(err)
}

// Invalidate raises the generation above what is stored and known. The generation that
// is stored may be behind one that was lost, and that another instance restores; one
// that counted on from it would be undone by that. So it goes on at the time in
// microseconds, which is above what counting has reached, and says when the
// invalidation was; see store.Raised.
func (s *Store) Invalidate(ctx context.Context, o keys.Org, known uint64) (uint64, error) {
	return s.generation(ctx, generationBump, []string{s.generationOf(o)}, known)
}

// InvalidateOnce is Invalidate, and with the same token again its answer. It
// works where there is no memory, too: the script writes both keys or none.
func (s *Store) InvalidateOnce(ctx context.Context, o keys.Org, known uint64, token clock.Version) (uint64, error) {
	names := []string{s.generationOf(o), s.opts.Space.Invalidated(o, token.String())}
	return s.generation(ctx, invalidateOnce, names, known, millis(tokenLife))
}

// RaiseGeneration sets the generation to at least g.
func (s *Store) RaiseGeneration(ctx context.Context, o keys.Org, g uint64) (uint64, error) {
	stored, err := s.Generation(ctx, o)
	if err != nil || stored >= g {
		return stored, err
	}
	if s.opts.Witness != nil {
		s.noteRaised(ctx, o, g)
	}
	return s.generation(ctx, generationRaise, []string{s.generationOf(o)}, g)
}

// generation runs a script that raises the generation in the first of names.
func (s *Store) generation(ctx context.Context, sc script, names []string, n uint64, more ...string) (uint64, error) {
	var text string
	args := append([]string{strconv.FormatUint(n, 10)}, more...)
	err := s.patient(ctx, names[0], call{"EVALSHA", 1}, func(c rueidis.Client) (err error) {
		text, err = sc.run(ctx, c, names, args).ToString()
		return err
	})
	if err := classify(err, writing); err != nil {
		return 0, err
	}
	return parseGeneration(text)
}
