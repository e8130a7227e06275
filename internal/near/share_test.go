package near

import (
	"flag"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
)

var shareSeed = flag.Uint64("near.share-seed", 0, "seed of the test of shares; 0: a random one")

// TestNoisyOrganisation: one with 30 times the traffic and five times what the tier
// holds does not push a quiet one out.
func TestNoisyOrganisation(t *testing.T) {
	seed := *shareSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	const holds = 1000 // items, about
	for name, n := range map[string]int{"fits": holds / 3, "is larger than its share": holds * 2} {
		alone := quietRatio(t, seed, holds, n, 0)
		with := quietRatio(t, seed, holds, n, 30)
		t.Logf("what the quiet one uses %s: it hits %.3f alone, %.3f beside the noisy one", name, alone, with)
		if with < 0.95*alone {
			t.Errorf("what the quiet one uses %s: it hits %.3f, alone %.3f", name, with, alone)
		}
	}
}

// quietRatio returns the hit ratio of an organisation that uses n keys, beside one
// with so many times its traffic.
func quietRatio(t *testing.T, seed uint64, holds, n, noise int) float64 {
	weight := item(1).Size + len("jack:dev:lead:quiet:1000") + entryOverhead
	f := newFixture(t, Options{MaxBytes: uint64(holds * weight), Share: 0.5})
	quiet, noisy := user(f, "quiet", seed, 1.1, n), user(f, "noisy", seed+1, 1.01, 5*holds)
	hits := 0
	const rounds, warm = 2000, 700
	for i := range rounds {
		if quiet() && i >= warm {
			hits++
		}
		for range noise {
			noisy()
		}
	}
	s := f.Stats()
	t.Logf("noise %d: %d entries, %d of %d bytes, %d evictions, %d own, top %v", noise, s.Entries, s.Bytes, s.MaxBytes, s.Evictions, s.OwnEvictions, s.Top)
	return float64(hits) / (rounds - warm)
}

// user returns who asks for one of n keys, some more often than others, and fills it
// in when it is not there. It reports hits.
func user(f *fixture, org string, seed uint64, skew float64, n int) func() bool {
	zipf := rand.NewZipf(rand.New(rand.NewPCG(seed, 0)), skew, 1, uint64(n-1))
	all := make([]keys.Key, n)
	for i := range all {
		all[i] = f.key(org, id(i))
	}
	return func() bool {
		k := all[zipf.Uint64()]
		if it, _ := f.Get(k, f.c); it != nil {
			return true
		}
		f.fill(k, item(1))
		return false
	}
}

// TestShare: at its cap an organisation gives up what it has itself, and never has
// more, whatever the sizes.
func TestShare(t *testing.T) {
	f := newFixture(t, Options{MaxBytes: 100_000, Share: 0.3})
	b := f.key("b", "1")
	f.mustFill(b, item(7))
	sizes := []int{0, 10, 5000, 29_000, 300, 1000}
	for i := range 2000 {
		it := item(int64(i) + 1)
		it.Size = sizes[i%len(sizes)]
		f.mustFill(f.key("a", id(i)), it)
		for _, o := range f.Stats().Top {
			if o.Bytes > 30_000 {
				t.Fatalf("%v has %d bytes", o.Org, o.Bytes)
			}
		}
	}
	f.want(b, 7, true)
	big := item(1)
	for _, size := range []int{30_000, 1 << 40, -1} {
		if big.Size = size; f.fill(f.key("a", "big"), big) {
			t.Errorf("%d bytes are kept", size)
		}
	}
	if s := f.Stats(); s.Rejected.TooLarge != 3 || s.Evictions != 0 || s.OwnEvictions == 0 {
		t.Errorf("stats are %+v", s)
	}
}

// TestOfUseStays: of its own an organisation gives up what was of no use first.
func TestOfUseStays(t *testing.T) {
	weight := item(1).Size + len("jack:dev:lead:a:10") + entryOverhead
	f := newFixture(t, Options{MaxBytes: uint64(100 * weight), Share: 0.5})
	used := f.key("a", "used")
	f.mustFill(used, item(1))
	for i := range 1000 {
		f.want(used, 1, true)
		f.mustFill(f.key("a", id(i)), item(2))
	}
	f.want(used, 1, true)
}

// TestAccountsUnderRaces: what each organisation has is exact after everything raced.
// The fixture checks it at the end.
func TestAccountsUnderRaces(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	f := newFixture(t, Options{MaxBytes: 60_000, Share: 0.4})
	var wg sync.WaitGroup
	for g := range uint64(6) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, g))
			for range 6000 {
				org := string(rune('a' + r.IntN(5)))
				k := f.key(org, id(r.IntN(60)))
				switch r.IntN(40) {
				case 0:
					f.DropOrg(k.Org())
				case 1, 2, 3:
					f.Drop(k)
				case 4:
					f.Stats()
				case 5, 6, 7, 8, 9:
					f.Get(k, f.c)
				default:
					it := item(r.Int64N(100) + 1)
					it.Size = r.IntN(3000)
					it.TTL = time.Duration(r.Int64N(int64(100 * time.Millisecond)))
					f.fill(k, it)
				}
			}
		})
	}
	wg.Wait()
	f.cache.CleanUp()
	s := f.Stats()
	t.Logf("%+v", s)
	if s.Bytes > s.MaxBytes {
		t.Errorf("%d bytes of %d are kept", s.Bytes, s.MaxBytes)
	}
	// Once everything has gone, nothing is left of any organisation.
	for org := range 5 {
		f.DropOrg(f.org(string(rune('a' + org))))
	}
	for k := range f.cache.Keys() {
		f.Changed([]string{k})
	}
	poll(t, func() bool { f.cache.CleanUp(); s := f.Stats(); return s.Bytes == 0 && s.Orgs == 0 })
}
