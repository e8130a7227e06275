package jackcache_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/redistest"
)

// registersEach is how many registers of each sort an instance writes. Each is written
// so seldom that the next change does not hide that one was missed.
const registersEach = 40

// startCoherence returns instances with registers of all sorts. Foreign, if there
// is one, is the server that a client of another make writes to.
func startCoherence(t *testing.T, as []*assistant.Assistant, foreign *redistest.Server) *coherence {
	t.Helper()
	c := &coherence{t: t, seed: rand.Uint64(), as: as, begun: time.Now()}
	t.Log("seed", c.seed)
	for owner := range as {
		for i := range registersEach {
			at := fmt.Sprintf("%d-%d", owner, i)
			c.add(c.value("value-"+at), owner)
			c.add(c.conversation("conversation-"+at), owner)
			c.add(c.organisation("organisation-"+at), owner)
			c.add(c.loaded("loaded-"+at), owner)
		}
	}
	for i := range registersEach {
		c.add(c.raced("raced-"+strconv.Itoa(i)), everyone)
		if foreign != nil {
			c.add(c.foreign(foreign, "foreign-"+strconv.Itoa(i)), nobodys)
		}
	}
	for by, a := range as {
		eventually(t, 20*time.Second, "redis tells of changes", func() bool {
			_, _ = c.all[0].read(t.Context(), by)
			return a.Cache.Stats().Near.Fresh > 0
		})
	}
	return c
}

func (c *coherence) add(r *register, owner int) {
	r.owner, r.own = owner, make([]acks, len(c.as))
	c.all = append(c.all, r)
}

// The kinds of the registers. Of loaded ones no copy is given that need not be
// current, because nobody tells where a loaded value came from.
var (
	registers = jackcache.NewKind[json.RawMessage](jackcache.KindOptions{Name: "register", TTL: time.Hour, ServeStale: true})
	loaded    = jackcache.NewKind[json.RawMessage](jackcache.KindOptions{Name: "loaded", TTL: time.Hour})
)

func rankOf(n int) string { return fmt.Sprintf("%012d", n) }

// toAnswer makes an answer of what a read of a number gave.
func toAnswer(e jackcache.Entry[json.RawMessage], err error) (answer, error) {
	if errors.Is(err, jackcache.ErrNotFound) {
		return answer{}, nil
	}
	n, _ := strconv.Atoi(string(e.Value))
	return answer{rank: rankOf(n), source: e.Source}, err
}

// value is a value that one instance sets and deletes.
func (c *coherence) value(name string) *register {
	r := &register{name: name}
	r.write = func(ctx context.Context, by, n int) (string, bool, error) {
		a := c.as[by]
		if n%8 == 0 {
			r.deletes(rankOf(n))
			return rankOf(n), true, registers.Delete(ctx, a.Cache.Org("org-1"), name)
		}
		_, err := registers.Set(ctx, a.Cache.Org("org-1"), name, raw(strconv.Itoa(n)))
		return rankOf(n), false, err
	}
	r.read = func(ctx context.Context, by int) (answer, error) {
		return toAnswer(registers.Entry(ctx, c.as[by].Cache.Org("org-1"), name))
	}
	return r
}

// organisation is a value that one instance sets, and that goes with its
// organisation.
func (c *coherence) organisation(name string) *register {
	r := &register{name: name}
	r.write = func(ctx context.Context, by, n int) (string, bool, error) {
		a := c.as[by]
		org := a.Cache.Org(name)
		if n%4 == 0 {
			r.deletes(rankOf(n))
			return rankOf(n), true, org.Invalidate(ctx)
		}
		_, err := registers.Set(ctx, org, "x", raw(strconv.Itoa(n)))
		return rankOf(n), false, err
	}
	r.read = func(ctx context.Context, by int) (answer, error) {
		return toAnswer(registers.Entry(ctx, c.as[by].Cache.Org(name), "x"))
	}
	return r
}

// conversation is one to which one instance appends, and which it clears.
func (c *coherence) conversation(name string) *register {
	r := &register{name: name}
	of := func(by int) jackcache.Conversation { return c.as[by].Cache.Org(name).Conversation(phone(1)) }
	r.write = func(ctx context.Context, by, n int) (string, bool, error) {
		if n%8 == 0 {
			r.deletes(rankOf(n))
			return rankOf(n), true, of(by).Clear(ctx)
		}
		_, err := of(by).Append(ctx, message(rankOf(n), "hi"))
		return rankOf(n), false, err
	}
	r.read = func(ctx context.Context, by int) (answer, error) {
		got, err := of(by).Messages(ctx, jackcache.ReadOptions{Last: rand.IntN(3)})
		if n := len(got.Messages); n > 0 {
			return answer{rank: got.Messages[n-1].ID, source: got.Source}, err
		}
		return answer{source: got.Source}, err
	}
	return r
}

// loaded is a value that is loaded where it is missing. What it is loaded from
// changes first, and the value is deleted or set then.
func (c *coherence) loaded(name string) *register {
	r := &register{name: name}
	var truth atomic.Int64
	r.write = func(ctx context.Context, by, n int) (string, bool, error) {
		a := c.as[by]
		truth.Store(int64(n))
		if n%4 == 0 {
			_, err := loaded.Set(ctx, a.Cache.Org("org-1"), name, raw(strconv.Itoa(n)))
			return rankOf(n), false, err
		}
		return rankOf(n), false, loaded.Delete(ctx, a.Cache.Org("org-1"), name)
	}
	r.read = func(ctx context.Context, by int) (answer, error) {
		a := c.as[by]
		v, err := loaded.GetOrLoad(ctx, a.Cache.Org("org-1"), name, func(context.Context) (json.RawMessage, error) {
			return raw(strconv.FormatInt(truth.Load(), 10)), nil
		})
		return toAnswer(jackcache.Entry[json.RawMessage]{Value: v}, err)
	}
	return r
}

// raced is a value that all instances set.
func (c *coherence) raced(name string) *register {
	r := &register{name: name}
	r.write = func(ctx context.Context, by, _ int) (string, bool, error) {
		a := c.as[by]
		v, err := registers.Set(ctx, a.Cache.Org("org-1"), name, raw(`1`))
		return string(v), false, err
	}
	r.read = func(ctx context.Context, by int) (answer, error) {
		e, err := registers.Entry(ctx, c.as[by].Cache.Org("org-1"), name)
		if errors.Is(err, jackcache.ErrNotFound) {
			return answer{}, nil
		}
		return answer{rank: string(e.Version), source: e.Source}, err
	}
	return r
}

// foreign is a value that is written and removed without the product.
func (c *coherence) foreign(server *redistest.Server, name string) *register {
	r := &register{name: name}
	key := c.as[0].Cache.KeyPrefix() + "register:org-1:" + name
	r.write = func(_ context.Context, _, n int) (string, bool, error) {
		if n%4 == 0 {
			r.deletes(rankOf(n))
			_, err := server.Do("DEL", key)
			return rankOf(n), true, err
		}
		v := record.Value{Version: clock.NewVersion(time.Now().UnixMilli(), uint16(n), 1), Stored: []byte(strconv.Itoa(n))}
		got, err := server.Do("SET", key, string(v.Append(nil)))
		if err == nil && !strings.HasPrefix(got, "OK") {
			err = errors.New(got)
		}
		return rankOf(n), false, err
	}
	r.read = func(ctx context.Context, by int) (answer, error) {
		return toAnswer(registers.Entry(ctx, c.as[by].Cache.Org("org-1"), name))
	}
	return r
}
