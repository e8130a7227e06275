package jackcache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/jackcache/jackcache/internal/carry"
	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/datadir"
	"github.com/jackcache/jackcache/internal/filestore"
	"github.com/jackcache/jackcache/internal/journal"
	"github.com/jackcache/jackcache/internal/redisstore"
	"github.com/jackcache/jackcache/internal/store"
)

// embeddedFile is the name of the embedded store in a data directory, and
// carriedSuffix what is added, with the id of the store that has its contents
// now, once they were carried over.
const (
	embeddedFile  = "embedded.db"
	carriedSuffix = ".carried-"
)

func (c *Cache) embeddedPath() string { return filepath.Join(c.opts.DataDir, embeddedFile) }

func (c *Cache) embeddedStore(clk *clock.Clock) (*filestore.Store, error) {
	return filestore.Open(c.embeddedPath(), filestore.Options{
		Space: c.space, Now: clk.Steady, MaxBytes: c.opts.Embedded.MaxBytes, Logger: c.opts.Logger,
	})
}

// openEmbedded opens the embedded store. Where the directory has served Redis it
// must be asked for: it knows nothing of what is there.
func (c *Cache) openEmbedded(clk *clock.Clock, record *datadir.Record) (store.Store, error) {
	if id := record.ID(); id != "" {
		if !c.opts.Embedded.AfterRedis {
			return nil, fmt.Errorf(
				"%w: the data directory %s belongs to the redis %s, and no redis is set; what redis holds is not carried back. Set REDIS_HOST, or JACKCACHE_STORE=embedded (Options.Embedded.AfterRedis) to go on without it",
				store.ErrWrongStore, c.opts.DataDir, id)
		}
		c.opts.Logger.Warn("the embedded store is used where redis was: what redis holds is not here", "redis", id, "dataDir", c.opts.DataDir)
	}
	return c.embeddedStore(clk)
}

// openRedis opens the shared store, and begins to carry over what an embedded
// store in the data directory holds.
func (c *Cache) openRedis(ctx context.Context, timeout time.Duration, clk *clock.Clock, record *datadir.Record) (store.Shared, error) {
	source, err := c.toCarry(ctx, clk)
	if err != nil {
		return nil, err
	}
	o := c.redisOptions(timeout, clk)
	if record != nil { // without a directory any will do
		o.Identity = &redisstore.Identity{Record: record, Adopt: c.opts.Adopt}
	}
	c.succeed(&o)
	shared, err := redisstore.Open(ctx, o)
	if source == nil || err != nil {
		if source != nil {
			err = errors.Join(err, source.Close(ctx))
		}
		if err != nil {
			return nil, err
		}
		return shared, nil
	}
	p := putAway{source: source, path: c.embeddedPath(), record: record, opts: c.opts}
	c.carrying = carry.Over(shared, source, carry.Options{Space: c.space, Now: clk.Steady, Begin: c.beginCarried, Keep: c.keepCarried, Finish: p.finish, Logger: c.opts.Logger})
	return c.carrying, nil
}

// succeed names this process, and those that used the data directory before.
func (c *Cache) succeed(o *redisstore.Options) {
	if c.lock == nil {
		return
	}
	o.Process = uuid.NewString()
	var err error
	if o.Dead, err = datadir.Succeed(c.lock.f, o.Process); err != nil {
		c.opts.Logger.Warn("if this instance is killed, invalidations wait for it until it is known to be gone, also when it is back", "dataDir", c.opts.DataDir, "err", err)
	}
}

// beginCarried notes that an operation is being carried over.
func (c *Cache) beginCarried() (end func()) {
	if c.journal == nil {
		return func() {}
	}
	turn := c.journal.Begin()
	return func() { c.journal.End(turn) }
}

// keepCarried records what was carried over like a write that Redis has.
func (c *Cache) keepCarried(ctx context.Context, op store.Op) error {
	if c.journal == nil {
		return nil
	}
	err := c.journal.Append(ctx, false, &journal.Record{Kind: journal.Applied, Time: c.journalTime(), Op: op})
	if err != nil && c.opts.Journal.Mode == JournalOptional {
		return nil
	}
	return err
}

// toCarry opens the embedded store if there is one with contents.
func (c *Cache) toCarry(ctx context.Context, clk *clock.Clock) (*filestore.Store, error) {
	if _, err := os.Stat(c.embeddedPath()); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	s, err := c.embeddedStore(clk)
	if err != nil {
		return nil, fmt.Errorf("open the embedded store to carry it over (move %s away to begin without its contents): %w", c.embeddedPath(), err)
	}
	if n, err := s.Count(ctx); err != nil || n == 0 {
		return nil, errors.Join(err, s.Close(ctx))
	}
	return s, nil
}

// putAway ends the service of an embedded store that was carried over.
type putAway struct {
	source *filestore.Store
	path   string
	record *datadir.Record
	opts   Options
	closed bool
	name   string // that it has now; empty: not renamed yet
	others bool   // the file has contents of another environment
}

// finish closes the file and renames it, or drops from it what was carried where
// there is more in it. It may be called again after an error.
func (p *putAway) finish(ctx context.Context) error {
	if !p.closed {
		only, err := p.source.Only(ctx)
		if p.others = !only; err == nil && p.others {
			err = p.source.Drop(ctx)
		}
		if err == nil {
			err = p.source.Close(ctx)
		}
		if err != nil {
			return err
		}
		p.closed = true
	}
	if p.others {
		return nil
	}
	if p.name == "" {
		name, err := unused(p.path + carriedSuffix + p.record.ID())
		if err != nil {
			return err
		}
		if err := os.Rename(p.path, name); err != nil {
			return fmt.Errorf("put the embedded store away: %w", err)
		}
		p.name = name
		p.opts.Logger.Info("the embedded store's file is not needed any more; it can be removed", "file", name)
	}
	return clock.SyncDir(filepath.Dir(p.path))
}

// unused returns name, or name with a number behind it, where there is no file
// yet.
func unused(name string) (string, error) {
	for next, n := name, 2; ; next, n = fmt.Sprintf("%s-%d", name, n), n+1 {
		_, err := os.Lstat(next)
		if errors.Is(err, fs.ErrNotExist) {
			return next, nil
		}
		if err != nil {
			return "", err
		}
	}
}

// Wait waits until a carry-over is done, or ctx ends: ErrUnavailable then, with
// how far it is. Without one it returns at once.
func (c *Cache) Wait(ctx context.Context) error {
	if c.carrying == nil {
		return nil
	}
	return mapError(ctx, "carry over", c.carrying.Wait(ctx))
}
