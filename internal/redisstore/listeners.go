package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// listeners returns the other processes that give copies, and when none of them
// gives something as fresh any more that is older than raised, a time in the past.
// Where the list should have this process and has not, it may lack others, too:
// they are there under an empty name.
func (s *Store) listeners(ctx context.Context, raised time.Time) (map[string]time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	var text []string
	key := s.opts.Space.Listeners()
	err := s.on(ctx, key, call{"EVALSHA", 1}, func(c rueidis.Client) (err error) {
		text, err = listenerRead.run(ctx, c, []string{key}, nil).AsStrSlice()
		return err
	})
	if err != nil {
		return nil, err
	}
	l, err := parseList(text)
	if err != nil {
		return nil, err
	}
	read, longest := time.Now(), s.opts.Freshness
	ends := make(map[string]time.Time, len(l.entries))
	for id := range l.entries {
		bound, over := parseEntry(l.entries[id])
		if over <= l.now {
			continue
		}
		longest = max(longest, bound)
		ends[id] = raised.Add(bound + boundMargin)
		if silent, ok := l.suspended(id); ok {
			ends[id] = earlier(ends[id], read.Add(s.suspendedFor(bound)-silent))
		}
	}
	if _, listed := ends[s.bootID]; !listed && s.listing.ever.Load() {
		ends[""] = raised.Add(longest + boundMargin)
	}
	delete(ends, s.bootID)
	return ends, nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

var errShape = errors.New("the answer is not understood")

// listRead is the list as it was read.
type listRead struct {
	now     int64  // by the server, in ms since 1970
	history string // of replication of the server; empty: not known, or nobody is suspended
	entries map[string]string
}

// parseList reads what listener_read.lua gives.
func parseList(text []string) (l listRead, err error) {
	if len(text) < 2 || len(text)%2 != 0 || number(text[0]) == 0 {
		return l, fmt.Errorf("the list of those who give copies: %w", errShape)
	}
	l = listRead{now: number(text[0]), history: text[1], entries: make(map[string]string, len(text)/2)}
	for i := 2; i < len(text); i += 2 {
		l.entries[text[i]] = text[i+1]
	}
	return l, nil
}

// parseEntry reads "<bound in ms> <end in ms>", the bound with a plus sign where the
// process heeds its suspension. What it cannot read is over.
func parseEntry(text string) (bound time.Duration, ends int64) {
	first, last, _ := strings.Cut(text, " ")
	ms, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return 0, 0
	}
	return time.Duration(ms) * time.Millisecond, number(last)
}
