package check

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/jackcache/jackcache/internal/datadir"
)

// healthTime is how long problems of the health must stand to count: others go
// by themselves.
const healthTime = 2 * time.Second

// settings finds out whether a server with these settings would start, and
// whether its health would be good. It neither locks nor changes the data
// directory: a server may use it.
func (s *session) settings(ctx context.Context) (string, error) {
	s.step("look at the health")
	if err := s.healthy(ctx); err != nil {
		return "", err
	}
	s.step("look at the data directory")
	dir := s.dataDir()
	if err := writable(dir); err != nil {
		return "", wrong(fmt.Sprintf("set JACKCACHE_DATA_DIR to a directory in which the user who runs the server may write (now %s)", absolute(dir)),
			"the data directory cannot be used: %s", text(err))
	}
	record, err := datadir.Open(dir, s.report.KeyPrefix)
	if err != nil {
		return "", wrong("let the user who runs the server read it, or bring the file back from a backup", "%s", text(err))
	}
	if err := s.belongs(ctx, record.ID()); err != nil {
		return "", err
	}
	return "health has no problems; the data directory can be written and belongs to this store", nil
}

// healthy waits a while for a health without problems.
func (s *session) healthy(ctx context.Context) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for end := time.Now().Add(healthTime); ; {
		h := s.a.Cache.Health()
		if len(h.Problems) == 0 {
			return nil
		}
		if time.Now().After(end) {
			return wrong(strings.Join(h.Problems, "; "), "health is %s", h.Status)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// writable finds out whether dir can be written, or made where it is not there.
func writable(dir string) error {
	info, err := os.Stat(dir)
	for up := filepath.Dir(dir); errors.Is(err, fs.ErrNotExist) && up != dir; up = filepath.Dir(dir) {
		dir = up
		info, err = os.Stat(dir)
	}
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", dir)
	}
	f, err := os.CreateTemp(dir, ".jackcache-check-")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// belongs compares the store that the data directory records with this one;
// empty: it has served none.
func (s *session) belongs(ctx context.Context, recorded string) error {
	switch {
	case recorded == "":
		return nil
	case s.o.Cache.Redis == nil && s.o.Cache.Embedded.AfterRedis:
		return nil
	case s.o.Cache.Redis == nil:
		return wrong("set REDIS_HOST, or JACKCACHE_STORE=embedded to go on without what redis holds",
			"the data directory belongs to the redis %s, and no redis is set: a server does not start", recorded)
	case s.o.Cache.Adopt:
		return nil
	}
	found, err := s.storeID(ctx)
	if err != nil {
		return doing("read the id of the store", err)
	}
	if found != recorded {
		return wrong("correct REDIS_HOST (or REDIS_ADDRS, REDIS_DB) or JACKCACHE_DATA_DIR; where the change is meant, start the server once with JACKCACHE_ADOPT=on",
			"the data directory belongs to another redis: it records %s, this one is %q", recorded, found)
	}
	return nil
}

// storeID reads the id of the deployment from the master that has it.
func (s *session) storeID(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	err := errors.New("no master is known")
	for _, m := range s.a.Cache.Health().Store.Nodes {
		var id string
		if id, err = s.storeIDAt(ctx, m.Addr); err == nil {
			return id, nil
		}
	}
	return "", err
}

// storeIDAt asks one master, which may be the wrong one of a Cluster.
func (s *session) storeIDAt(ctx context.Context, addr string) (string, error) {
	c, err := dial(s.o.Cache.Redis, addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	id, err := c.Do(ctx, c.B().Get().Key(s.report.KeyPrefix+"__store").Build()).ToString()
	if rueidis.IsRedisNil(err) {
		return "", nil
	}
	return id, err
}
