package redisstore

import (
	"context"
	"math"
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
	// raisedPage is how many notes are read at once.
	raisedPage = 1000
	// raisedPause is the time between two tries to note something, and raisedTime
	// bounds them.
	raisedPause = 250 * time.Millisecond
	raisedTime  = 2 * time.Second
)

// highestNote is the highest number of a note: what a score and Lua's numbers hold
// exactly.
var highestNote = strconv.FormatUint(store.MaxGeneration, 10)

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
	args := []string{noteText(o, g), millis(raisedLife), strconv.Itoa(mostRaised), highestNote}
	err := s.patient(ctx, key, call{"EVALSHA", 1}, func(c rueidis.Client) error {
		err := raisedNote.run(ctx, c, []string{key}, args).Error()
		if rueidis.IsRedisNil(err) {
			return nil
		}
		return err
	})
	return classify(err, writing)
}

// Raised implements store.Shared. It has the connection for long jobs for a page at a
// time; where nothing has come there is one page, and it is empty.
func (s *Store) Raised(ctx context.Context, after uint64) (all []store.Raised, err error) {
	key, from := s.opts.Space.Raised(), strconv.FormatUint(after, 10)
	for {
		var page []rueidis.ZScore
		err := s.jobOn(ctx, key, func(c rueidis.Client) (err error) {
			page, err = c.Do(ctx, c.B().Zrange().Key(key).Min("("+from).Max(highestNote).
				Byscore().Limit(0, raisedPage).Withscores().Build()).AsZScores()
			return err
		})
		if err != nil {
			return nil, classifyJob(err)
		}
		for _, z := range page {
			if r, ok := parseNote(z); ok {
				all = append(all, r)
			}
		}
		if len(page) < raisedPage {
			return all, nil
		}
		from = strconv.FormatFloat(page[len(page)-1].Score, 'f', -1, 64)
	}
}

// noteText is the member of the sorted set that notes a generation.
func noteText(o keys.Org, g uint64) string { return strconv.FormatUint(g, 10) + " " + o.String() }

// parseNote reads a member of the sorted set. What it cannot read is none.
func parseNote(z rueidis.ZScore) (r store.Raised, ok bool) {
	number, name, _ := strings.Cut(z.Member, " ")
	g, err := parseGeneration(number)
	if err != nil {
		return r, false
	}
	o, err := keys.ParseOrg(name)
	if err != nil || z.Score != math.Trunc(z.Score) {
		return r, false
	}
	return store.Raised{Org: o, Generation: g, Note: uint64(z.Score)}, true
}
