package redisstore

import (
	"context"
	"fmt"
	"strconv"

	"github.com/redis/rueidis"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

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

// Generation reads an organisation's generation.
func (s *Store) Generation(ctx context.Context, o keys.Org) (g uint64, err error) {
	var m rueidis.RedisMessage
	key := s.generationOf(o)
	err = s.on(ctx, key, call{"GET", 1}, func(c rueidis.Client) (err error) {
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

// Invalidate raises the generation above what is stored and known.
func (s *Store) Invalidate(ctx context.Context, o keys.Org, known uint64) (uint64, error) {
	return s.generation(ctx, generationBump, o, known)
}

// RaiseGeneration sets the generation to at least g.
func (s *Store) RaiseGeneration(ctx context.Context, o keys.Org, g uint64) (uint64, error) {
	return s.generation(ctx, generationRaise, o, g)
}

func (s *Store) generation(ctx context.Context, sc script, o keys.Org, n uint64) (uint64, error) {
	var text string
	key := s.generationOf(o)
	err := s.on(ctx, key, call{"EVALSHA", 1}, func(c rueidis.Client) (err error) {
		text, err = sc.run(ctx, c, []string{key}, []string{strconv.FormatUint(n, 10)}).ToString()
		return err
	})
	if err := classify(err, writing); err != nil {
		return 0, err
	}
	return parseGeneration(text)
}
