package engine

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/near"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// The processes of these tests keep copies. In a bubble nothing proves that they are
// current, so that they are of use as stale ones only.

// told is a line over which a process hears of changes, when the test says so.
type told struct {
	*line
	cover store.Cover
}

func (l *told) Covers(string, keys.Org) store.Covers {
	return store.Covers{Key: &l.cover, Generation: &l.cover}
}

// AwaitSeen: the covers break by themselves.
func (l *told) AwaitSeen(context.Context, time.Time, ...keys.Org) error { return nil }

var _ store.Tracked = (*told)(nil)

// copied is a fleet whose processes keep copies.
type copied struct {
	*fleet
	space keys.Space
	tiers []*near.Tier
}

const (
	soft     = 100 * time.Millisecond
	staleFor = 2 * time.Hour
)

// lenient is a kind of which stale values may be given for longer than they live.
var lenient = Policy{
	TTL: time.Hour, Keep: 3 * time.Hour, CompressAbove: -1, Near: time.Hour, Stale: true, StaleFor: staleFor, SoftTimeout: soft,
}

func inCopied(t *testing.T, n int, test func(*testing.T, *copied)) {
	synctest.Test(t, func(t *testing.T) {
		space, err := keys.NewSpace(keys.Dev)
		if err != nil {
			t.Fatal(err)
		}
		c := &copied{fleet: newFleet(t, 0), space: space}
		for i := range n {
			tier, err := near.New(near.Options{MaxBytes: 1 << 20, Share: 1, Bound: time.Hour, Space: space})
			if err != nil {
				t.Fatal(err)
			}
			c.tiers = append(c.tiers, tier)
			l := &line{Memory: c.store}
			c.add(i, &told{line: l}, l, tier)
		}
		defer c.close()
		test(t, c)
	})
}

// changed tells all processes that the value was changed, or has expired.
func (c *copied) changed() {
	for _, t := range c.tiers {
		t.Changed([]string{c.key.String()})
	}
	time.Sleep(time.Nanosecond) // in a bubble a read that begins later would begin at the same time
}

// has gives the value to a process, which keeps a copy.
func (c *copied) has(p process, value string) {
	c.t.Helper()
	if _, err := p.Set(c.t.Context(), c.key, []byte(value), lenient, store.Condition{}); err != nil {
		c.t.Fatal(err)
	}
	if v, err := p.Get(c.t.Context(), c.key, lenient); err != nil || string(v.Payload) != value {
		c.t.Fatalf("got %+v, %v", v, err)
	}
}

// expire lets the value expire.
func (c *copied) expire() {
	time.Sleep(lenient.TTL + time.Second)
	c.changed()
}

// gets calls a process, and checks what it gets, from where, and when.
func (c *copied) gets(p process, policy Policy, load Loader, value string, from Source, after time.Duration) {
	c.t.Helper()
	began := time.Now()
	v, err := p.GetOrLoad(c.t.Context(), c.key, policy, load)
	if took := time.Since(began); err != nil || string(v.Payload) != value || v.Source != from || took != after {
		c.t.Errorf("got %q from %d after %v, %v; want %q from %d after %v", v.Payload, v.Source, took, err, value, from, after)
	}
}

var errDatabase = errors.New("the database is away")

func fails(context.Context) ([]byte, error) { return nil, errDatabase }

// fails checks that a process gets the error of its loader.
func (c *copied) fails(what string, p process, policy Policy) {
	c.t.Helper()
	if v, err := p.GetOrLoad(c.t.Context(), c.key, policy, fails); !errors.Is(err, errDatabase) {
		c.t.Errorf("%s: got %q from %d, %v; want the loader's error", what, v.Payload, v.Source, err)
	}
}

// Who waits for a slow load gets what has expired, and the load goes on.
func TestSoftTimeout(t *testing.T) {
	inCopied(t, 1, func(t *testing.T, c *copied) {
		p := c.processes[0]
		const load = time.Second
		c.gets(p, lenient, c.loader("first", load), "first", FromLoader, load) // there is nothing else
		c.has(p, "old")
		c.expire()
		c.gets(p, lenient, c.loader("new", load), "old", FromStale, soft)
		c.gets(p, lenient, c.loader("newer", load), "old", FromStale, soft) // it waits for the same
		time.Sleep(load)
		c.gets(p, lenient, c.loader("newest", load), "new", FromShared, 0)
		c.loaded(2)
		if n := p.Rescues(RescueSlow); n != 2 {
			t.Errorf("%d stale values are counted, want 2", n)
		}
		c.has(p, "old")
		c.expire()
		c.gets(p, lenient, c.loader("quick", soft/2), "quick", FromLoader, soft/2)
	})
}

// A loader that fails is not told of where what has expired can be given; unless it
// says that there is nothing, which is the end of that.
func TestLoaderFailsOverACopy(t *testing.T) {
	inCopied(t, 1, func(t *testing.T, c *copied) {
		p := c.processes[0]
		c.fails("nothing is there", p, lenient)
		c.has(p, "old")
		c.expire()
		for range 3 {
			c.gets(p, lenient, fails, "old", FromStale, 0)
			synctest.Wait() // it has given its lease back
		}
		c.gets(p, lenient, func(context.Context) ([]byte, error) { panic("oops") }, "old", FromStale, 0)
		if n := p.Rescues(RescueFailed); n != 4 {
			t.Errorf("%d stale values are counted, want 4", n)
		}
		strict := lenient
		strict.Stale = false
		c.fails("a kind that is not served stale", p, strict)
		ctx, cancel := context.WithCancel(t.Context())
		if _, err := p.GetOrLoad(ctx, c.key, lenient, func(context.Context) ([]byte, error) { cancel(); return nil, errDatabase }); err == nil {
			t.Error("who gave up got a stale value")
		}
		if _, err := p.GetOrLoad(t.Context(), c.key, lenient, findsNothing); !errors.Is(err, errNothing) {
			t.Errorf("got %v", err)
		}
		c.fails("the loader has found nothing", p, lenient)
	})
}

// What was deleted or invalidated, by whomever, is never given.
func TestNoStaleAfterTheEnd(t *testing.T) {
	remove := func(c *copied, p process) error { return p.Delete(c.t.Context(), c.key, lenient, store.Condition{}) }
	invalidate := func(c *copied, p process) error {
		_, err := p.Invalidate(c.t.Context(), c.key.Org())
		return err
	}
	for name, end := range map[string]func(*copied, process) error{"delete": remove, "invalidate": invalidate} {
		for by, who := range map[string]int{"own": 0, "another": 1} {
			t.Run(name+"/"+by, func(t *testing.T) {
				for _, c := range []struct {
					what                   string
					expires, told, asWaits bool
				}{
					{"it is there", false, true, false},
					{"it is there, and nothing is told", false, false, false},
					{"it has expired", true, true, false},
					{"it has expired, and nothing is told", true, false, false},
					{"who loads waits", true, true, true},
					{"who loads waits, and has not heard of the expiry", false, true, true},
				} {
					inCopied(t, 2, func(t *testing.T, f *copied) {
						p := f.processes[0]
						f.has(p, "old")
						if c.expires {
							f.expire()
						} else {
							time.Sleep(lenient.TTL)
						}
						ends := func() {
							if err := end(f, f.processes[who]); err != nil {
								t.Error(err)
							}
							if c.told && name == "delete" {
								f.changed()
							} else if c.told {
								f.tiers[0].Changed([]string{f.space.Generation(f.key.Org())})
							}
						}
						if !c.asWaits {
							ends()
							f.fails(c.what, p, lenient)
							f.fails(c.what+", again", p, lenient)
							p.line.away.Store(true)
							if c.told || who == 0 {
								f.fails(c.what+", and the store is away", p, lenient)
							}
							return
						}
						began := time.Now()
						v, err := p.GetOrLoad(t.Context(), f.key, lenient, func(context.Context) ([]byte, error) {
							ends()
							time.Sleep(time.Second)
							return nil, errDatabase
						})
						if took := time.Since(began); !errors.Is(err, errDatabase) || took.Round(time.Millisecond) != time.Second {
							t.Errorf("%s: got %q from %d after %v, %v", c.what, v.Payload, v.Source, took, err)
						}
					})
				}
			})
		}
	}
}

// A server tells of an expiry when somebody reads: who has read by then asks again,
// and may find that somebody has written.
func TestToldWhileOneWaits(t *testing.T) {
	for _, written := range []bool{false, true} {
		inCopied(t, 2, func(t *testing.T, c *copied) {
			p := c.processes[0]
			c.has(p, "old")
			time.Sleep(lenient.TTL)
			load := func(context.Context) ([]byte, error) {
				c.changed()
				if written {
					if _, err := c.processes[1].Set(t.Context(), c.key, []byte("written"), lenient, store.Condition{}); err != nil {
						t.Error(err)
					}
				}
				time.Sleep(time.Second)
				return []byte("new"), nil
			}
			if written {
				c.gets(p, lenient, load, "written", FromShared, soft)
			} else {
				c.gets(p, lenient, load, "old", FromStale, soft)
			}
			time.Sleep(time.Second)
		})
	}
}

// While the store is away what was told about is not given: it may have been
// deleted. What was not is: at once without a SoftTimeout, and with one after the
// loader had its time.
func TestStaleWhileAway(t *testing.T) {
	inCopied(t, 1, func(t *testing.T, c *copied) {
		p := c.processes[0]
		atOnce := lenient
		atOnce.SoftTimeout = 0
		c.has(p, "old")
		p.line.away.Store(true)
		c.gets(p, atOnce, c.loader("new", time.Second), "old", FromStale, 0)
		c.loaded(0)
		if v, err := p.Get(t.Context(), c.key, atOnce); err != nil || v.Source != FromStale {
			t.Errorf("a read gets %+v, %v", v, err)
		}
		c.gets(p, lenient, c.loader("new", soft/2), "new", FromLoader, soft/2)
		c.gets(p, lenient, c.loader("new", time.Second), "old", FromStale, soft)
		c.gets(p, lenient, c.loader("another", time.Second), "old", FromStale, soft) // it waits for the same
		c.loaded(2)
		time.Sleep(time.Second)
		c.gets(p, lenient, fails, "old", FromStale, 0)
		if away, slow := p.Rescues(RescueAway), p.Rescues(RescueSlow); away != 1 || slow != 2 {
			t.Errorf("counted are %d and %d", away, slow)
		}
		c.changed()
		c.fails("it may have been deleted", p, atOnce)
		c.fails("it may have been deleted", p, lenient)
		if v, err := p.Get(t.Context(), c.key, atOnce); err == nil {
			t.Errorf("a read gets %+v", v)
		}
	})
}

// There is a limit from when the copy was last known to be current.
func TestStaleLimit(t *testing.T) {
	inCopied(t, 1, func(t *testing.T, c *copied) {
		p := c.processes[0]
		c.has(p, "old")
		time.Sleep(staleFor - time.Second)
		c.gets(p, lenient, fails, "old", FromStale, 0)
		time.Sleep(2 * time.Second)
		c.fails("it is over", p, lenient)
	})
}

// Without a StaleFor a copy is of use until its time is over, or something is told.
func TestNoStaleFor(t *testing.T) {
	zero := lenient
	zero.StaleFor, zero.SoftTimeout = 0, 0
	inCopied(t, 1, func(t *testing.T, c *copied) {
		p := c.processes[0]
		kept := func() {
			t.Helper()
			p.line.away.Store(false)
			if _, err := p.Set(t.Context(), c.key, []byte("old"), zero, store.Condition{}); err != nil {
				t.Fatal(err)
			}
			if _, err := p.Get(t.Context(), c.key, zero); err != nil {
				t.Fatal(err)
			}
			p.line.away.Store(true)
			c.gets(p, zero, fails, "old", FromStale, 0)
		}
		kept()
		c.changed()
		c.fails("it was told of", p, zero)
		kept()
		time.Sleep(zero.Near)
		c.fails("its time is over", p, zero)
	})
}

// A generation that is higher than that of a copy ends it, also where nobody has told
// the copies of it.
func TestOutlives(t *testing.T) {
	s := near.Stale{Item: &near.Item{Generation: 2}}
	value := func(generation uint64, flags record.Flags) record.Value {
		return record.Value{Generation: generation, Flags: flags}
	}
	for name, c := range map[string]struct {
		read store.Read
		want bool
	}{
		"nothing is there":          {store.Read{Generation: 2}, true},
		"a value that has ended":    {store.Read{Found: true, Value: value(1, 0), Generation: 2}, true},
		"it was deleted":            {store.Read{Found: true, Value: value(2, record.Tombstone), Generation: 2}, false},
		"it was invalidated":        {store.Read{Generation: 3}, false},
		"it was invalidated before": {store.Read{Found: true, Value: value(3, 0), Generation: 2}, false},
	} {
		if got := outlives(s, seenValue{Read: c.read}); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// What a process has read to be deleted it does not give any more, though the
// connection that tells it of changes broke while it read.
func TestNoStaleOfWhatWasSeenToBeDeleted(t *testing.T) {
	for name, policy := range map[string]Policy{"as long as near": {}, "longer": {StaleFor: staleFor}} {
		t.Run(name, func(t *testing.T) {
			inCopied(t, 1, func(t *testing.T, c *copied) {
				p := c.processes[0]
				kind := lenient
				kind.StaleFor = policy.StaleFor
				c.has(p, "old")
				if _, err := c.store.Apply(t.Context(), store.Op{
					Action: store.Set, Key: c.key, Version: p.Clock().Now(), TTL: time.Hour, Flags: record.Tombstone,
				}); err != nil {
					t.Fatal(err)
				}
				p.line.reading = func() { c.told(0).cover.Break() }
				if v, err := p.Get(t.Context(), c.key, kind); err != nil || v.Found {
					t.Fatalf("got %+v, %v", v, err)
				}
				p.line.away.Store(true)
				if v, err := p.Get(t.Context(), c.key, kind); err == nil {
					t.Errorf("got %q from %d; it is deleted", v.Payload, v.Source)
				}
				p.line.away.Store(false)
			})
		})
	}
}

// told is how the i-th process hears of changes.
func (c *copied) told(i int) *told { return c.processes[i].copies.tracked.(*told) }
