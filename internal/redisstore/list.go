package redisstore

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
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

// List scans for keys of a type, master after master, on the connections for
// long jobs. A key whose slot moves to another master meanwhile may be missing.
//
// See https://redis.io/docs/latest/commands/scan/ for what SCAN promises.
func (s *Store) List(ctx context.Context, q store.Query) (page store.Page, err error) {
	limit := q.Limit
	if limit == 0 {
		limit = defaultLimit
	}
	from, err := parsePosition(q.Cursor)
	if err != nil {
		return page, err
	}
	l := &lister{s: s, q: q, limit: limit, generations: make(map[keys.Org]uint64), seen: make(map[string]bool)}
	err = s.job(func() error {
		if q.Cursor == "" && !q.Org.IsZero() {
			// A kind with one value per organisation has no id for a pattern to match.
			only := s.opts.Space.Key(q.Type, q.Org, keys.NoID).String()
			if err := l.add(ctx, l.routed(ctx, only), []string{only}); err != nil {
				return err
			}
		}
		page.Cursor, err = l.scanFrom(ctx, from)
		return err
	})
	page.Entries = l.entries
	if err != nil {
		return store.Page{}, classifyJob(err)
	}
	return page, nil
}

// classifyJob is classify for an error of a job that may have been classified.
func classifyJob(err error) error {
	for _, class := range []error{store.ErrUnavailable, store.ErrCorrupt, store.ErrRejected} {
		if errors.Is(err, class) {
			return err
		}
	}
	return classify(err, reading)
}

// position is where a listing goes on.
type position struct {
	slot   int    // the lowest of the master
	print  uint32 // of the master: the cursor of one means nothing to another
	cursor uint64
}

func (p position) String() string { return fmt.Sprintf("%d.%x.%d", p.slot, p.print, p.cursor) }

func parsePosition(text string) (p position, err error) {
	if text == "" {
		return p, nil
	}
	if _, err := fmt.Sscanf(text, "%d.%x.%d", &p.slot, &p.print, &p.cursor); err != nil || p.String() != text || p.slot < 0 {
		return p, fmt.Errorf("%w cursor %q: pass the cursor of the page before, or none", keys.ErrInvalid, text)
	}
	return p, nil
}

// print tells a server, and its start, from others.
func (n *node) print() uint32 {
	n.facts.mu.Lock()
	defer n.facts.mu.Unlock()
	h := fnv.New32a()
	_, _ = h.Write([]byte(n.addr + " " + n.facts.info["run_id"])) // never fails
	return h.Sum32()
}

type lister struct {
	s           *Store
	q           store.Query
	limit       int
	sparse      int // logarithm of how much further to look
	generations map[keys.Org]uint64
	seen        map[string]bool
	entries     []store.Entry
}

// scanFrom scans until there are enough entries, and returns where to go on.
func (l *lister) scanFrom(ctx context.Context, at position) (string, error) {
	rounds := scanRounds
	for _, part := range l.s.layout.Load().parts() {
		if part.low < at.slot {
			continue
		}
		print := part.node.print()
		if part.low != at.slot || print != at.print {
			at = position{slot: part.low, print: print}
		}
		for {
			if len(l.entries) >= l.limit || rounds == 0 {
				return at.String(), nil
			}
			rounds--
			if err := l.scan(ctx, part.node, &at.cursor); err != nil {
				return "", err
			}
			if at.cursor == 0 {
				break
			}
		}
		at.slot++ // this master is done
	}
	if len(l.s.layout.Load().masters) == 0 {
		return "", l.s.noMaster("")
	}
	return "", nil
}

// scan takes one step on a master.
func (l *lister) scan(ctx context.Context, n *node, cursor *uint64) error {
	var found rueidis.ScanEntry
	err := n.job(func(link *link) (err error) {
		c := link.jobs
		count := int64(min(max(l.limit, scanLeast)<<l.sparse, scanMost))
		found, err = c.Do(ctx, c.B().Scan().Cursor(*cursor).Match(l.s.opts.Space.Pattern(l.q.Type, l.q.Org)).Count(count).Build()).AsScanEntry()
		return err
	})
	if err != nil {
		return err
	}
	if len(found.Elements) > 0 {
		l.sparse = 0
	} else if l.sparse < 6 {
		l.sparse++ // look further at a time
	}
	*cursor = found.Cursor
	return l.add(ctx, func(f func(rueidis.Client) error) error {
		return n.job(func(link *link) error { return f(link.jobs) })
	}, found.Elements)
}

// via runs commands on a server.
type via func(f func(rueidis.Client) error) error

// routed runs commands on the master of a key.
func (l *lister) routed(ctx context.Context, key string) via {
	return func(f func(rueidis.Client) error) error { return l.s.jobOn(ctx, key, f) }
}

// add appends an entry for each name that is a live key of the query.
func (l *lister) add(ctx context.Context, where via, names []string) error {
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
		if err := l.describe(ctx, where, part); err != nil {
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
		g, err := l.s.generationForJob(ctx, k.Org())
		if err != nil {
			return err
		}
		l.generations[k.Org()] = g
	}
	return nil
}

// describe asks for what an entry tells, several keys in one trip.
func (l *lister) describe(ctx context.Context, where via, ks []keys.Key) error {
	var rs []rueidis.RedisResult
	now := time.Now()
	err := where(func(c rueidis.Client) error {
		commands := make(rueidis.Commands, 0, 4*len(ks))
		for _, k := range ks {
			commands = append(commands, l.questions(c.B(), k)...)
		}
		rs = c.DoMulti(ctx, commands...)
		if _, moved := redirected(rs[0].Error()); moved && len(ks) == 1 {
			return rs[0].Error()
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i, k := range ks {
		if _, moved := redirected(rs[4*i].Error()); moved && len(ks) > 1 {
			if err := l.describe(ctx, l.routed(ctx, k.String()), []keys.Key{k}); err != nil {
				return err
			}
			continue
		}
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

// questions are the four commands that tell of a key.
func (l *lister) questions(b rueidis.Builder, k keys.Key) rueidis.Commands {
	name := k.String()
	if l.q.Type == keys.Conversations {
		return rueidis.Commands{
			b.Lindex().Key(name).Index(-1).Build(), b.Llen().Key(name).Build(),
			b.Hget().Key(l.s.opts.Space.Meta(k)).Field("bytes").Build(), b.Pttl().Key(name).Build(),
		}
	}
	return rueidis.Commands{
		b.Getrange().Key(name).Start(0).End(record.MaxHeader - 1).Build(), b.Strlen().Key(name).Build(),
		b.Exists().Key(name).Build(), b.Pttl().Key(name).Build(),
	}
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
