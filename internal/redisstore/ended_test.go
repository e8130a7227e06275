package redisstore

import (
	"strconv"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/redistest"
	"github.com/jackcache/jackcache/internal/store"
)

// A write with a condition that does not know of an invalidation yet is told of it, and
// leaves what is stored as it is, whether its condition would hold or not. One without
// is applied under the generation that it has.
func TestConditionOfAnEndedGeneration(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := openNode(t, server.Addr())
	c := clock.New(nil, 1, nil)
	op := func(id, value string, generation uint64, v clock.Version, cond store.Condition) store.Op {
		return store.Op{
			Action: store.Set, Key: mustKey(t, s, id), TTL: time.Hour, Version: v, Generation: generation,
			Payload: []byte(value), If: cond,
		}
	}
	apply := func(op store.Op, want store.Status) store.Result {
		t.Helper()
		res, err := s.Apply(t.Context(), op)
		if err != nil || res.Status != want {
			t.Fatalf("%+v, %v; want status %d", res, err, want)
		}
		return res
	}
	stored := c.Now()
	apply(op("stored", "stored", 1, stored, store.Condition{}), store.Applied)
	stays := send(t, server, "GET", mustKey(t, s, "stored").String())
	const current = 1_700_000_000_000_000
	if _, err := s.RaiseGeneration(t.Context(), mustKey(t, s, "stored").Org(), current); err != nil {
		t.Fatal(err)
	}
	for _, below := range []uint64{0, 1, current - 1} {
		for _, cond := range []store.Condition{
			{Kind: store.IfAbsent}, {Kind: store.IfVersion, Version: stored}, {Kind: store.IfVersion, Version: c.Now()},
			{Kind: store.IfSeen, Version: stored}, {Kind: store.IfSeen, Version: c.Now()}, {Kind: store.IfSeen},
		} {
			for id, was := range map[string]clock.Version{"stored": stored, "nothing": {}} {
				res := apply(op(id, "new", below, c.Now(), cond), store.Stale)
				if res.Generation != current || res.Version != was || res.ExpiresAt.IsZero() != was.IsZero() {
					t.Errorf("%s, %+v under %d: %+v", id, cond, below, res)
				}
				deletion := op(id, "", below, c.Now(), cond)
				deletion.Flags = record.Tombstone
				apply(deletion, store.Stale)
			}
		}
	}
	if text := send(t, server, "GET", mustKey(t, s, "stored").String()); text != stays {
		t.Errorf("%q was made of %q", text, stays)
	}
	if there := send(t, server, "EXISTS", mustKey(t, s, "nothing").String()); there != "0" {
		t.Errorf("%s where nothing was", there)
	}
	for i, generation := range []uint64{current, current + 1} {
		apply(op("nothing"+strconv.Itoa(i), "new", generation, c.Now(), store.Condition{Kind: store.IfAbsent}), store.Applied)
	}
	apply(op("stored", "unconditional", 1, c.Now(), store.Condition{}), store.Applied)
}
