package redisstore

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

const (
	// raisedLife is how long notes are kept, and mostRaised how many.
	raisedLife = 48 * time.Hour
	mostRaised = 100_000
	// raisedPause is the time between two tries to note something, and raisedTime
	// bounds them.
	raisedPause = 250 * time.Millisecond
	raisedTime  = 2 * time.Second
)

// notes has what could not be noted yet.
type notes struct {
	mu    sync.Mutex
	left  map[keys.Org]uint64 // guarded by mu: generations
	tried bool                // guarded by mu: somebody tries
}

// noteRaised notes that a generation is about to be raised because it was lost. Where
// the server of the notes is away the generation does not wait for it, and is noted
// later.
func (s *Store) noteRaised(ctx context.Context, o keys.Org, g uint64) {
	if s.noteOnce(ctx, o, g) == nil {
		return
	}
	s.notes.mu.Lock()
	defer s.notes.mu.Unlock()
	if s.notes.left == nil {
		s.notes.left = make(map[keys.Org]uint64)
	}
	s.notes.left[o] = max(s.notes.left[o], g)
	if !s.notes.tried {
		s.notes.tried = true
		s.background(s.noteLeft)
	}
}

// noteLeft notes what is left, one after the other.
func (s *Store) noteLeft() {
	for {
		s.notes.mu.Lock()
		var o keys.Org
		var g uint64
		for o, g = range s.notes.left {
			break
		}
		if s.notes.tried = len(s.notes.left) > 0; !s.notes.tried {
			s.notes.mu.Unlock()
			return
		}
		s.notes.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), raisedTime)
		err := s.noteOnce(ctx, o, g)
		cancel()
		if err != nil {
			s.opts.Logger.Debug("a generation that was restored is not noted yet", "org", o.String(), "err", err)
			select {
			case <-s.stop:
				return
			case <-time.After(raisedPause):
			}
			continue
		}
		s.notes.mu.Lock()
		if s.notes.left[o] == g {
			delete(s.notes.left, o)
		}
		s.notes.mu.Unlock()
	}
}

func (s *Store) noteOnce(ctx context.Context, o keys.Org, g uint64) error {
	key := s.opts.Space.Raised()
	args := []string{o.String(), strconv.FormatUint(g, 10), millis(raisedLife), strconv.Itoa(mostRaised)}
	err := s.patient(ctx, key, call{"EVALSHA", 1}, func(c rueidis.Client) error {
		err := raisedNote.run(ctx, c, []string{key}, args).Error()
		if rueidis.IsRedisNil(err) {
			return nil
		}
		return err
	})
	return classify(err, writing)
}

// Raised implements store.Shared.
func (s *Store) Raised(ctx context.Context, upTo string) (all []store.Raised, now string, err error) {
	key := s.opts.Space.Raised()
	var m rueidis.RedisMessage
	err = s.patient(ctx, key, call{"HGET", 1}, func(c rueidis.Client) (err error) {
		m, err = c.Do(ctx, c.B().Hget().Key(key).Field("n").Build()).ToMessage()
		return err
	})
	if err := classify(err, reading); err != nil {
		return nil, upTo, err
	}
	if now, err = m.ToString(); m.IsNil() || err == nil && now == upTo {
		return nil, now, nil
	}
	if err != nil {
		return nil, upTo, fmt.Errorf("%w: %s: %w", store.ErrCorrupt, key, err)
	}
	var fields map[string]string
	err = s.jobOn(ctx, key, func(c rueidis.Client) (err error) {
		fields, err = c.Do(ctx, c.B().Hgetall().Key(key).Build()).AsStrMap()
		return err
	})
	if err != nil {
		return nil, upTo, classifyJob(err)
	}
	for field, text := range fields {
		if r, ok := parseRaised(field, text); ok {
			all = append(all, r)
		}
	}
	return all, fields["n"], nil
}

// parseRaised reads a field of the hash. What it cannot read is none.
func parseRaised(field, text string) (r store.Raised, ok bool) {
	name, ok := strings.CutPrefix(field, "o:")
	if !ok {
		return r, false
	}
	o, err := keys.ParseOrg(name)
	if err != nil {
		return r, false
	}
	number, _, _ := strings.Cut(text, " ")
	g, err := parseGeneration(number)
	return store.Raised{Org: o, Generation: g}, err == nil
}
