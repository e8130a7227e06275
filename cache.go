package jackcache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/jackcache/jackcache/internal/carry"
	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/datadir"
	"github.com/jackcache/jackcache/internal/engine"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/redisstore"
	"github.com/jackcache/jackcache/internal/store"
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
	carrying      *carry.Store // nil: there was nothing to carry
}

// Open opens a cache. It reports every wrong option at once. Redis need not be
// there: calls answer ErrUnavailable until it is. A Redis that is there and is not
// the one that the data directory belongs to is ErrWrongStore; see Options.Adopt.
// The embedded store must open. Ctx bounds the opening only.
//
// The first start with Redis carries over what the embedded store in the data
// directory holds, in the background: calls answer ErrUnavailable until that is
// done. Wait waits for it.
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
	if err := os.MkdirAll(o.DataDir, 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	var err error
	if c.lock, err = lockDir(o.DataDir); err != nil {
		return err
	}
	ceiling, err := clock.OpenCeiling(filepath.Join(o.DataDir, "clock"))
	if err != nil {
		return err
	}
	clk := clock.New(o.Now, randomNode(), ceiling)
	record, err := datadir.Open(o.DataDir, c.space.Prefix())
	if err != nil {
		return err
	}
	var (
		shared  store.Store
		timeout = o.Embedded.Budget
	)
	if o.Redis == nil {
		shared, err = c.openEmbedded(clk, record)
	} else {
		timeout = time.Duration(float64(o.Budget) * storeShare)
		shared, err = c.openRedis(ctx, timeout, clk, record)
	}
	if err != nil {
		return err
	}
	c.engine, err = engine.New(engine.Config{
		Store: shared, Clock: clk, Timeout: timeout, LoadTimeout: o.LoadTimeout,
		LocalBytes: uint64(o.LocalBytes), OwnTime: o.Redis == nil, Logger: o.Logger,
		Tracer: o.tracer(), KindNames: c.typeNames(),
	})
	if err != nil {
		return errors.Join(err, shared.Close(ctx))
	}
	if c.unobserve, err = c.observe(); err != nil {
		return errors.Join(err, c.engine.Close(ctx))
	}
	return nil
}

// redisOptions are the options of the shared store.
func (c *Cache) redisOptions(timeout time.Duration, clk *clock.Clock) redisstore.Options {
	r := c.opts.Redis
	return redisstore.Options{
		Space: c.space, Mode: redisstore.Mode(r.Mode), Addrs: r.Addrs,
		Access: redisstore.Access{Username: r.Username, Password: r.Password, Credentials: r.Credentials, TLS: r.TLS, CurrentTLS: r.CurrentTLS},
		Sentinels: redisstore.Access{
			Username: r.Sentinel.Username, Password: r.Sentinel.Password,
			Credentials: r.Sentinel.Credentials, TLS: r.Sentinel.TLS, CurrentTLS: r.Sentinel.CurrentTLS,
		},
		Master: r.Sentinel.Master, Dial: r.Dial, DB: r.DB, Connections: r.Connections, InFlight: r.InFlight,
		Timeout: timeout, Clock: clk, Logger: c.opts.Logger,
		Tracer: c.opts.tracer(), Meter: c.opts.meter(),
	}
}

// Close waits until ctx ends for what is under way, then lets go of the store
// and the data directory. Calls that come later get ErrClosed.
func (c *Cache) Close(ctx context.Context) error {
	c.watcher.end()
	err := errors.Join(c.unobserve(), c.engine.Close(ctx))
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
