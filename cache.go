package jackcache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackcache/jackcache/internal/carry"
	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/datadir"
	"github.com/jackcache/jackcache/internal/engine"
	"github.com/jackcache/jackcache/internal/journal"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/redisstore"
	"github.com/jackcache/jackcache/internal/replay"
)

// Cache is an open cache. Make it with Open, end it with Close. Safe for
// concurrent use.
type Cache struct {
	opts          Options
	space         keys.Space
	engine        *engine.Engine
	lock          *dirLock
	kinds         map[string]*kind
	counts        map[*kind]*kindCounts
	conversations kindCounts
	started       time.Time
	unobserve     func() error // ends the collection of metrics
	watcher       *watcher
	carrying      *carry.Store     // nil: there was nothing to carry
	journal       *journal.Journal // nil: there is none
	replay        *replay.Replayer // nil: there is no journal
	listener      *listener        // nil: there are no copies
	journalTime   func() time.Time // the shared store's, as far as known
}

// Open opens a cache. It reports every wrong option at once. Redis need not be
// there: calls answer ErrUnavailable until it is. A Redis that is there and is not
// the one that the data directory belongs to is ErrWrongStore; see Options.Adopt.
// The embedded store must open. Ctx bounds the opening only.
//
// The first start with Redis carries over what the embedded store in the data
// directory holds, in the background: calls answer ErrUnavailable until that is
// done. Wait waits for it.
//
// The journal is read before Open returns. What it holds for Redis is applied in
// the background, as soon as Redis is there.
func Open(ctx context.Context, o Options) (*Cache, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	space, err := keys.NewSpace(o.environment())
	if err != nil {
		return nil, mapError(ctx, "open", err)
	}
	c := &Cache{
		opts: o, space: space, started: time.Now(),
		kinds: make(map[string]*kind), counts: make(map[*kind]*kindCounts),
	}
	for _, k := range o.Kinds {
		c.kinds[k.Info().Name] = k.kind()
		c.counts[k.kind()] = &kindCounts{}
	}
	if err := c.openStore(ctx); err != nil {
		return nil, errors.Join(mapError(ctx, "open", err), c.lock.release())
	}
	c.watcher = c.watch()
	return c, nil
}

func (c *Cache) openStore(ctx context.Context) error {
	o := c.opts
	clk, record, err := c.openDataDir()
	if err != nil {
		return err
	}
	cfg := engine.Config{
		Clock: clk, Timeout: o.Embedded.Budget, LoadTimeout: o.LoadTimeout,
		LocalBytes: uint64(o.LocalBytes), OwnTime: o.Redis == nil, Logger: o.Logger,
		Tracer: o.tracer(), KindNames: c.typeNames(),
	}
	if o.Redis == nil {
		cfg.Store, err = c.openEmbedded(clk, record)
	} else {
		cfg.Timeout = time.Duration(float64(o.Budget) * storeShare)
		cfg.NearLogs = max(0, o.Conversation.NearTTL)
		cfg.ReclaimRate = max(0, o.ReclaimRate)
		err = c.openShared(ctx, &cfg, record)
	}
	if err != nil {
		return errors.Join(err, c.closeJournal(ctx))
	}
	if c.engine, err = engine.New(cfg); err != nil {
		return errors.Join(err, cfg.Store.Close(ctx), c.closeJournal(ctx))
	}
	if c.listener != nil {
		c.listener.engine.Store(c.engine)
	}
	if c.replay != nil {
		c.replay.Start(cfg.Journaling.Shared)
	}
	if c.unobserve, err = c.observe(); err != nil {
		return errors.Join(err, c.closeEngine(ctx))
	}
	return nil
}

// openShared opens Redis, and the journal in front of it.
func (c *Cache) openShared(ctx context.Context, cfg *engine.Config, record *datadir.Record) error {
	if err := c.openJournal(cfg.Clock); err != nil {
		return err
	}
	if err := c.openNear(); err != nil {
		return err
	}
	if c.listener != nil {
		cfg.Near = c.listener.tier
	}
	shared, err := c.openRedis(ctx, cfg.Timeout, cfg.Clock, record)
	if err != nil {
		return err
	}
	cfg.Store = shared
	if c.journal != nil {
		cfg.Journaling = &engine.Journaling{
			Journal: c.journal, Shared: shared,
			Budget: c.opts.Budget, Patience: time.Duration(float64(c.opts.Budget) * writeShare),
			Optional: c.opts.Journal.Mode == JournalOptional, Kick: c.replay.Kick, Look: c.replay.Look,
		}
	}
	return nil
}

// closeEngine ends the replay, lets go of the store, and closes the journal.
func (c *Cache) closeEngine(ctx context.Context) error {
	if c.replay != nil {
		c.replay.Close()
		if n := c.journal.PendingCount(); n > 0 {
			c.opts.Logger.Warn("writes wait in the journal; they get to redis when this instance is started again with its data directory",
				"pending", n, "dataDir", c.opts.DataDir, "crashSafe", c.journal.Stats().CrashSafe)
		}
	}
	return errors.Join(c.engine.Close(ctx), c.closeJournal(ctx))
}

// redisOptions are the options of the shared store.
func (c *Cache) redisOptions(timeout time.Duration, clk *clock.Clock) redisstore.Options {
	r := c.opts.Redis
	o := redisstore.Options{
		Space: c.space, Mode: redisstore.Mode(r.Mode), Addrs: r.Addrs,
		Access: redisstore.Access{Username: r.Username, Password: r.Password, Credentials: r.Credentials, TLS: r.TLS, CurrentTLS: r.CurrentTLS},
		Sentinels: redisstore.Access{
			Username: r.Sentinel.Username, Password: r.Sentinel.Password,
			Credentials: r.Sentinel.Credentials, TLS: r.Sentinel.TLS, CurrentTLS: r.Sentinel.CurrentTLS,
		},
		Master: r.Sentinel.Master, Dial: r.Dial, DB: r.DB, Connections: r.Connections, InFlight: r.InFlight,
		Timeout: timeout, Clock: clk, Logger: c.opts.Logger, Witness: c.witness(),
		Tracer: c.opts.tracer(), Meter: c.opts.meter(),
	}
	if c.listener != nil { // not a nil one in an interface
		o.Listener, o.Freshness = c.listener, c.opts.Near.Freshness
	}
	return o
}

// Close waits until ctx ends for what is under way, then lets go of the store
// and the data directory. Calls that come later get ErrClosed.
func (c *Cache) Close(ctx context.Context) error {
	c.watcher.end()
	err := errors.Join(c.unobserve(), c.closeEngine(ctx))
	return mapError(ctx, "close", errors.Join(err, c.lock.release()))
}

// Org returns an organisation's part of the cache. An id that is not allowed (1
// to 128 bytes of UTF-8 without control characters are) makes every call on the
// result return ErrInvalid.
func (c *Cache) Org(id string) Org {
	o, err := keys.ParseOrg(id)
	return Org{cache: c, org: o, err: err}
}

// Directory returns the directory of phones without an organisation, for kinds
// that are declared with Directory. Calls return ErrDisabled unless
// Options.Directory is set.
func (c *Cache) Directory() Org {
	o := Org{cache: c, directory: true}
	if !c.opts.Directory {
		o.err = fmt.Errorf("%w: the directory without an organisation; set JACKCACHE_DIRECTORY=on or Options.Directory", ErrDisabled)
	}
	return o
}

// Kinds returns the declarations of the kinds, by name.
func (c *Cache) Kinds() map[string]KindOptions {
	out := make(map[string]KindOptions, len(c.kinds))
	for name, k := range c.kinds {
		out[name] = k.opts
	}
	return out
}

// Conversations returns how conversations are kept, with defaults filled in.
func (c *Cache) Conversations() ConversationOptions { return c.opts.Conversation }

// KeyPrefix returns what every key of this cache starts with in the shared
// store.
func (c *Cache) KeyPrefix() string { return c.space.Prefix() }

// DataDir returns the directory of what survives this process.
func (c *Cache) DataDir() string { return c.opts.DataDir }

// NormalizePhone returns the E.164 form of a phone as this cache reads it.
func (c *Cache) NormalizePhone(phone string) (string, error) {
	p, err := c.phone(phone)
	return p.String(), err
}

func (c *Cache) phone(s string) (keys.Phone, error) {
	p, err := keys.ParsePhone(s, c.opts.PhoneRegion)
	if err != nil {
		return p, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return p, nil
}

// CheckID returns ErrInvalid, with what is allowed, for a text that cannot be an
// opaque or lead id.
func CheckID(id string) error {
	if _, err := keys.ParseID(id); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}
