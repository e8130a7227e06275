package storetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// Memory is a store in maps, for tests of what stands above a store. It is
// plain rather than fast, and forgets what has expired only when it is asked.
type Memory struct {
	now   func() time.Time
	since time.Time

	mu            sync.Mutex
	closed        bool                     // guarded by mu
	generations   map[keys.Org]uint64      // guarded by mu
	raised        []store.Raised           // guarded by mu: what RaiseGeneration has raised, by Note
	notes         uint64                   // guarded by mu: the last Note
	invalidated   map[token]uint64         // guarded by mu: what each invalidation led to
	values        map[string]*value        // guarded by mu
	conversations map[string]*conversation // guarded by mu
	leases        map[keys.Key]lease       // guarded by mu
}

var _ store.Shared = (*Memory)(nil)

// value is a stored value.
type value struct {
	key       keys.Key
	record    record.Value
	expiresAt time.Time
}

// NewMemory returns an empty store whose clock is now; nil means time.Now.
func NewMemory(now func() time.Time) *Memory {
	if now == nil {
		now = time.Now
	}
	return &Memory{
		now: now, since: now(),
		generations:   map[keys.Org]uint64{},
		invalidated:   map[token]uint64{},
		values:        map[string]*value{},
		conversations: map[string]*conversation{},
		leases:        map[keys.Key]lease{},
	}
}

// enter takes the lock for a call; the caller unlocks when there is no error.
func (m *Memory) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return fmt.Errorf("%w: the store is closed", store.ErrUnavailable)
	}
	return nil
}

// time is the store's time, to the microsecond.
func (m *Memory) time() time.Time { return m.now().Truncate(time.Microsecond) }

// Get implements store.Store.
func (m *Memory) Get(ctx context.Context, k keys.Key) (store.Read, error) {
	if err := m.enter(ctx); err != nil {
		return store.Read{}, err
	}
	defer m.mu.Unlock()
	return m.readLocked(k, m.time()), nil
}

func (m *Memory) readLocked(k keys.Key, now time.Time) store.Read {
	r := store.Read{Generation: m.generations[k.Org()]}
	if v := m.valueLocked(k, now); v != nil {
		r.Found, r.Value, r.Left = true, v.record, v.expiresAt.Sub(now)
	}
	return r
}

// valueLocked returns what a key holds, nil for nothing.
func (m *Memory) valueLocked(k keys.Key, now time.Time) *value {
	v := m.values[k.String()]
	if v == nil || !now.Before(v.expiresAt) {
		return nil
	}
	return v
}

// GetMany implements store.Store.
func (m *Memory) GetMany(ctx context.Context, ks []keys.Key) ([]store.Read, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	now := m.time()
	reads := make([]store.Read, len(ks))
	for i, k := range ks {
		reads[i] = m.readLocked(k, now)
	}
	return reads, nil
}

// Messages implements store.Store.
func (m *Memory) Messages(ctx context.Context, k keys.Key, last int) (store.Log, error) {
	if err := m.enter(ctx); err != nil {
		return store.Log{}, err
	}
	defer m.mu.Unlock()
	l := store.Log{Generation: m.generations[k.Org()]}
	c := m.conversations[k.String()]
	if c == nil || !c.alive(m.time()) || c.generation < l.Generation {
		return l, nil
	}
	l.Left = c.expiresAt.Sub(m.time())
	list := c.list
	if last > 0 && last < len(list) {
		list = list[len(list)-last:]
	}
	for _, e := range list {
		l.Messages = append(l.Messages, c.message(e))
	}
	return l, nil
}

// Apply implements store.Store.
func (m *Memory) Apply(ctx context.Context, op store.Op) (store.Result, error) {
	if err := m.enter(ctx); err != nil {
		return store.Result{}, err
	}
	defer m.mu.Unlock()
	now := m.time()
	res := store.Result{StoreTime: now, Generation: m.generations[op.Key.Org()]}
	expiresAt := op.ExpiresAt
	if expiresAt.IsZero() {
		expiresAt = now.Add(op.TTL)
	}
	c := m.conversations[op.Key.String()]
	switch {
	case op.Version.Compare(clock.NewVersion(now.Add(clock.MaxAhead).UnixMilli(), 0xffff, 0xffff)) > 0:
		res.Status = store.Ahead
	case !now.Before(expiresAt) && (c == nil || !c.joins(op, now)) && !raisesOnly(op):
		res.Status = store.Expired
	case op.Action == store.Set:
		m.setLocked(op, expiresAt, &res)
	default:
		if c == nil {
			c = newConversation(op.Key)
			m.conversations[op.Key.String()] = c
		}
		c.apply(op, expiresAt, &res)
	}
	return res, nil
}

func (m *Memory) setLocked(op store.Op, expiresAt time.Time, res *store.Result) {
	old := m.valueLocked(op.Key, res.StoreTime)
	next := record.Value{Version: op.Version, Generation: op.Generation, Flags: op.Flags, Stored: op.Payload}
	if old != nil {
		res.Version, res.ExpiresAt = old.record.Version, old.expiresAt
	}
	switch {
	case !holds(op, old):
		res.Status = store.ConditionFail
	case old == nil || old.record.Generation < op.Generation:
		res.Status = store.Applied
	case old.record.Generation > op.Generation:
		res.Status = store.Stale
		res.Generation = max(res.Generation, old.record.Generation)
	case old.record.Version.Compare(op.Version) > 0:
		res.Status = store.Superseded
	case old.record.Version.Compare(op.Version) < 0:
		res.Status = store.Applied
	case old.record.Flags == next.Flags && string(old.record.Stored) == string(next.Stored):
		res.Status = store.Unchanged
	default:
		res.Status = store.Conflict
	}
	if res.Status == store.Applied {
		m.values[op.Key.String()] = &value{key: op.Key, record: next, expiresAt: expiresAt}
		res.Version, res.ExpiresAt = op.Version, expiresAt
	}
}

// holds reports whether the condition of op holds for what is stored.
func holds(op store.Op, old *value) bool {
	live := old != nil && !old.record.IsTombstone() && old.record.Generation >= op.Generation
	switch op.If.Kind {
	case store.IfAbsent:
		return !live
	case store.IfVersion:
		return live && old.record.Version == op.If.Version
	case store.IfSeen:
		return old == nil && op.If.Version.IsZero() || old != nil && old.record.Version == op.If.Version
	}
	return true
}

// Generation implements store.Store.
func (m *Memory) Generation(ctx context.Context, o keys.Org) (uint64, error) {
	return m.RaiseGeneration(ctx, o, 0)
}

// Invalidate implements store.Store.
func (m *Memory) Invalidate(ctx context.Context, o keys.Org, known uint64) (uint64, error) {
	if err := m.enter(ctx); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	m.generations[o] = max(m.generations[o], known) + 1
	return m.generations[o], nil
}

// RaiseGeneration implements store.Store.
func (m *Memory) RaiseGeneration(ctx context.Context, o keys.Org, g uint64) (uint64, error) {
	if err := m.enter(ctx); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	if g > m.generations[o] {
		m.generations[o] = g
		m.raised = slices.DeleteFunc(m.raised, func(r store.Raised) bool { return r.Org == o && r.Generation == g })
		m.notes++
		m.raised = append(m.raised, store.Raised{Org: o, Generation: g, Note: m.notes})
	}
	return m.generations[o], nil
}

// Raised implements store.Shared.
func (m *Memory) Raised(ctx context.Context, after uint64) (all []store.Raised, err error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	for _, r := range m.raised {
		if r.Note > after {
			all = append(all, r)
		}
	}
	return all, nil
}

// List implements store.Store. The cursor is the last key of a page.
func (m *Memory) List(ctx context.Context, q store.Query) (store.Page, error) {
	if err := m.enter(ctx); err != nil {
		return store.Page{}, err
	}
	defer m.mu.Unlock()
	now := m.time()
	var all []store.Entry
	for _, v := range m.values {
		r := m.readLocked(v.key, now)
		if r.Live() {
			all = append(all, store.Entry{Key: v.key, Version: r.Value.Version, Bytes: len(r.Value.Append(nil)), ExpiresAt: v.expiresAt})
		}
	}
	for _, c := range m.conversations {
		if c.alive(now) && len(c.list) > 0 && c.generation >= m.generations[c.key.Org()] {
			all = append(all, c.entry())
		}
	}
	all = slices.DeleteFunc(all, func(e store.Entry) bool {
		return e.Key.Type() != q.Type || !q.Org.IsZero() && e.Key.Org() != q.Org || e.Key.String() <= q.Cursor
	})
	slices.SortFunc(all, func(a, b store.Entry) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	limit := q.Limit
	if limit <= 0 {
		limit = 100
	}
	if len(all) <= limit {
		return store.Page{Entries: all}, nil
	}
	return store.Page{Entries: all[:limit], Cursor: all[limit-1].Key.String()}, nil
}

// Health implements store.Store.
func (m *Memory) Health() store.Health {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := store.Health{Kind: "memory", State: store.Up, Since: m.since, Keys: int64(len(m.values) + len(m.conversations))}
	if m.closed {
		h.State, h.Problem = store.Down, "closed"
	}
	return h
}

// Close implements store.Store. Later calls are refused with ErrUnavailable.
func (m *Memory) Close(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}
