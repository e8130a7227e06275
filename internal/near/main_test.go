package near

import (
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a tier over covers that have proven themselves.
type fixture struct {
	*Tier
	t     testing.TB
	space keys.Space
	c     store.Covers

	handles sync.Map // of *Handle, by name
}

func newFixture(t testing.TB, o Options) *fixture {
	t.Helper()
	space, err := keys.NewSpace(keys.Dev)
	if err != nil {
		t.Fatal(err)
	}
	o.Space = space
	if o.MaxBytes == 0 {
		o.MaxBytes = 1 << 20
	}
	if o.Share == 0 {
		o.Share = 1
	}
	if o.Bound == 0 {
		o.Bound = time.Hour
	}
	tier, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	tier.random = func() uint64 { return 0 }
	t.Cleanup(tier.Close)
	f := &fixture{Tier: tier, t: t, space: space, c: store.Covers{Key: &store.Cover{}, Generation: &store.Cover{}}}
	prove(f.c.Key)
	prove(f.c.Generation)
	t.Cleanup(f.checkAccounts)
	return f
}

func prove(c *store.Cover) { c.Prove(c.Epoch(), store.Now()) }

// checkAccounts: each account has exactly what its entries weigh, and there is none
// without.
func (f *fixture) checkAccounts() {
	f.t.Helper()
	f.sweeps.stop() // what it removes while we look would not add up
	f.cache.CleanUp()
	weights, lists := map[*account]int64{}, map[*account]int64{}
	for e := range f.cache.Values() {
		weights[e.account] += int64(e.weight)
	}
	f.orgs.mu.RLock()
	defer f.orgs.mu.RUnlock()
	for _, a := range f.orgs.byName {
		n := int64(0)
		for e := a.oldest; e != nil; e = e.newer {
			lists[a] += int64(e.weight)
			n++
		}
		if got := a.bytes.Load(); got != lists[a] || got > f.share || n != a.refs.Load() || n == 0 {
			f.t.Errorf("%s has %d bytes and %d references; its %d entries have %d, allowed are %d", a.name, got, a.refs.Load(), n, lists[a], f.share)
		}
		// An entry that has expired and waits for otter is in the list alone.
		if weights[a] > lists[a] {
			f.t.Errorf("%s lists %d bytes, the cache has %d", a.name, lists[a], weights[a])
		}
	}
}

func (f *fixture) org(name string) keys.Org {
	f.t.Helper()
	o, err := keys.ParseOrg(name)
	if err != nil {
		f.t.Fatal(err)
	}
	return o
}

func (f *fixture) key(org, id string) keys.Key {
	f.t.Helper()
	i, err := keys.ParseID(id)
	if err != nil {
		f.t.Fatal(err)
	}
	return f.space.Key("lead", f.org(org), i)
}

// item is one of 100 bytes that lives for an hour.
func item(version int64) Item {
	return Item{Value: version, Version: clock.NewVersion(version, 0, 0), Size: 100, TTL: time.Hour}
}

// fill keeps an item under a lease of this moment.
func (f *fixture) fill(k keys.Key, it Item) bool { return f.Fill(k, f.Lease(k, f.c), it) }

func (f *fixture) mustFill(k keys.Key, it Item) {
	f.t.Helper()
	if !f.fill(k, it) {
		f.t.Fatalf("%s is not kept: %+v", k, f.Stats().Rejected)
	}
}

// Get reads like two callers: one who has a handle from before, and one who has not.
// What they get is of the same moment unless others write.
func (f *fixture) Get(k keys.Key, c store.Covers) (it *Item, fresh bool) {
	if rand.IntN(2) == 0 {
		return f.Tier.Get(k.String(), nil, c)
	}
	h, ok := f.handles.Load(k.String())
	if !ok {
		h, _ = f.handles.LoadOrStore(k.String(), new(Handle))
	}
	return f.Tier.Get(k.String(), h.(*Handle), c)
}

// want checks what Get gives: version 0 is none.
func (f *fixture) want(k keys.Key, version int64, fresh bool) {
	f.t.Helper()
	it, is := f.Get(k, f.c)
	switch {
	case version == 0 && it != nil:
		f.t.Errorf("%s has %v, want none", k, it.Value)
	case version == 0:
	case it == nil:
		f.t.Errorf("%s has none, want %d", k, version)
	case it.Value != version || is != fresh:
		f.t.Errorf("%s has %v, fresh %v; want %d, %v", k, it.Value, is, version, fresh)
	}
}

// poll waits until ok.
func poll(t testing.TB, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("it does not come to pass in 20 s")
		}
		<-time.After(200 * time.Microsecond)
	}
}

func id(i int) string { return strconv.Itoa(i) }

// directory returns a key without an organisation.
func directory(t testing.TB, f *fixture) keys.Key {
	t.Helper()
	p, err := keys.ParsePhone("+16049085474", "")
	if err != nil {
		t.Fatal(err)
	}
	return f.space.Directory(p)
}
