package redisstore

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

const (
	// scanLeast and scanMost bound the COUNT hint: small ones take more trips,
	// large ones hold up other callers and overshoot a page's limit.
	scanLeast, scanMost = 10, 500
	// scanRounds bounds the SCAN calls of one page, so that a page of a small
	// organisation in a large store answers, with a cursor to go on.
	scanRounds   = 200
	defaultLimit = 100
)

// List scans for keys of a type, on the connection for long jobs.
//
// See https://redis.io/docs/latest/commands/scan/ for what SCAN promises.
func (s *Store) List(ctx context.Context, q store.Query) (store.Page, error) {
	if err := s.job(func() error { return nil }); err != nil {
		return store.Page{}, classify(err, reading)
	}
	limit := q.Limit
	if limit == 0 {
		limit = defaultLimit
	}
	cursor, err := parseCursor(q.Cursor)
	if err != nil {
		return store.Page{}, err
	}
	l := lister{s: s, q: q, generations: make(map[keys.Org]uint64), seen: make(map[string]bool)}
	if q.Cursor == "" && !q.Org.IsZero() {
		// A kind with one value per organisation has no id for a pattern to match.
		if err := l.add(ctx, []string{s.opts.Space.Key(q.Type, q.Org, keys.NoID).String()}); err != nil {
			return store.Page{}, err
		}
	}
	count := int64(min(max(limit, scanLeast), scanMost))
	for range scanRounds {
		scan, err := s.jobs.Do(ctx, s.jobs.B().Scan().Cursor(cursor).
			Match(s.opts.Space.Pattern(q.Type, q.Org)).Count(count).Build()).AsScanEntry()
		if err != nil {
			return store.Page{}, classify(err, reading)
		}
		if err := l.add(ctx, scan.Elements); err != nil {
			return store.Page{}, err
		}
		cursor = scan.Cursor
		if cursor == 0 {
			return store.Page{Entries: l.entries}, nil
		}
		if len(l.entries) >= limit {
			break
		}
		if len(scan.Elements) == 0 {
			count = min(count*2, scanMost) // sparse: look further at a time
		}
	}
	return store.Page{Entries: l.entries, Cursor: strconv.FormatUint(cursor, 10)}, nil
}

func parseCursor(text string) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	c, err := strconv.ParseUint(text, 10, 64)
	if err != nil || c == 0 {
		return 0, fmt.Errorf("%w cursor %q: pass the cursor of the page before, or none", keys.ErrInvalid, text)
	}
	return c, nil
}

type lister struct {
	s           *Store
	q           store.Query
	generations map[keys.Org]uint64
	seen        map[string]bool
	entries     []store.Entry
}

// add appends an entry for each name that is a live key of the query.
func (l *lister) add(ctx context.Context, names []string) error {
	var found []keys.Key
	for _, name := range names {
		k, err := l.s.opts.Space.Parse(name)
		if err != nil || k.Type() != l.q.Type || l.seen[name] || !l.q.Org.IsZero() && k.Org() != l.q.Org {
			continue // not ours, or told already
		}
		l.seen[name] = true
		found = append(found, k)
	}
	if err := l.learn(ctx, found); err != nil {
		return err
	}
	for part := range slices.Chunk(found, 100) {
		if err := l.describe(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

// learn reads the generations of organisations that are new to the page.
func (l *lister) learn(ctx context.Context, ks []keys.Key) error {
	for _, k := range ks {
		if _, ok := l.generations[k.Org()]; ok {
			continue
		}
		g, err := l.s.Generation(ctx, k.Org())
		if err != nil {
			return err
		}
		l.generations[k.Org()] = g
	}
	return nil
}

// describe asks for what an entry tells, several keys in one trip.
func (l *lister) describe(ctx context.Context, ks []keys.Key) error {
	c := l.s.jobs
	commands := make(rueidis.Commands, 0, 4*len(ks))
	for _, k := range ks {
		name := k.String()
		if l.q.Type == keys.Conversations {
			commands = append(commands,
				c.B().Lindex().Key(name).Index(-1).Build(), c.B().Llen().Key(name).Build(),
				c.B().Hget().Key(l.s.opts.Space.Meta(k)).Field("bytes").Build())
		} else {
			commands = append(commands,
				c.B().Getrange().Key(name).Start(0).End(record.MaxHeader-1).Build(), c.B().Strlen().Key(name).Build(),
				c.B().Echo().Message("").Build())
		}
		commands = append(commands, c.B().Pttl().Key(name).Build())
	}
	now := time.Now()
	rs := c.DoMulti(ctx, commands...)
	for i, k := range ks {
		e, live, err := l.entry(k, rs[4*i:4*i+4], now)
		if err != nil {
			return err
		}
		if live {
			l.entries = append(l.entries, e)
		}
	}
	return nil
}

func (l *lister) entry(k keys.Key, rs []rueidis.RedisResult, now time.Time) (store.Entry, bool, error) {
	head, err := rs[0].ToString()
	if _, wrongType := rueidis.IsRedisErr(err); wrongType && !rueidis.IsRedisNil(err) {
		return store.Entry{}, false, nil // not ours
	}
	if rueidis.IsRedisNil(err) || err == nil && head == "" {
		return store.Entry{}, false, nil // gone meanwhile
	}
	if err != nil {
		return store.Entry{}, false, classify(err, reading)
	}
	size, err := rs[1].AsInt64()
	if err != nil {
		return store.Entry{}, false, classify(err, reading)
	}
	left, err := rs[3].AsInt64()
	if err != nil {
		return store.Entry{}, false, classify(err, reading)
	}
	e := store.Entry{Key: k}
	if left > 0 {
		e.ExpiresAt = now.Add(time.Duration(left) * time.Millisecond)
	}
	if l.q.Type == keys.Conversations {
		m, err := record.ParseMessage([]byte(head))
		if err != nil {
			return e, false, fmt.Errorf("%s: %w", k, err)
		}
		bytes, _ := rs[2].AsInt64() // without its companion the size is not known
		e.Version, e.Messages, e.Bytes = m.Order.Version, int(size), int(bytes)
		return e, m.Generation >= l.generations[k.Org()], nil
	}
	if foreign(head) {
		return e, false, nil
	}
	v, err := record.ParseValue([]byte(head))
	if err != nil {
		return e, false, fmt.Errorf("%s: %w", k, err)
	}
	e.Version, e.Bytes = v.Version, int(size)
	return e, !v.IsTombstone() && v.Generation >= l.generations[k.Org()], nil
}
