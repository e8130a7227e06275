package near

import (
	"flag"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
)

var churnOps = flag.Int("near.churn", 10_000, "operations in each of the eight rounds of the test of churn")

// heap returns what is alive.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}

// TestOverhead: what the tier says that it has is what it takes, for small items and
// large ones, few and many organisations.
func TestOverhead(t *testing.T) {
	for name, tc := range map[string]struct {
		n, size, orgs int
		least         float64 // of what is accounted to what is taken
	}{
		"small":       {30_000, 64, 10, 0.95},
		"typical":     {10_000, 1024, 50, 0.95},
		"large":       {1000, 32 << 10, 2, 0.95},
		"one per org": {10_000, 256, 10_000, 0.7},
	} {
		f := newFixture(t, Options{MaxBytes: 1 << 30})
		before := heap()
		for i := range tc.n {
			it := item(1)
			it.Value, it.Size = make([]byte, tc.size), tc.size+24 // the slice's header is there too
			f.mustFill(f.key("org-"+id(i%tc.orgs), id(i)), it)
		}
		f.cache.CleanUp()
		took := heap() - before
		s := f.Stats()
		t.Logf("%s: %d entries take %d bytes each, accounted are %d", name, s.Entries, took/uint64(tc.n), s.Bytes/uint64(tc.n))
		if ratio := float64(s.Bytes) / float64(took); ratio < tc.least || ratio > 1.15 {
			t.Errorf("%s: %d bytes are taken, %d accounted", name, took, s.Bytes)
		}
		runtime.KeepAlive(f)
	}
}

// TestChurn: whatever comes and goes, what is alive stays flat, and so does the
// number of accounts.
func TestChurn(t *testing.T) {
	const budget = 4 << 20
	f := newFixture(t, Options{MaxBytes: budget, Share: 0.5})
	r := rand.New(rand.NewPCG(1, 2))
	before := heap()
	most := uint64(0)
	for round := range 8 {
		for range *churnOps {
			k := f.key("org-"+id(r.IntN(2000)), id(r.IntN(50)))
			switch n := r.IntN(100); {
			case n == 0:
				f.DropOrg(k.Org())
			case n < 10:
				f.Drop(k)
			default:
				it := item(1)
				size := r.IntN(2048)
				it.Value, it.Size, it.TTL = make([]byte, size), size+24, time.Duration(1+r.IntN(3000))*time.Millisecond
				f.fill(k, it)
			}
		}
		f.cache.CleanUp()
		s := f.Stats()
		alive := heap() - before
		t.Logf("round %d: %d entries, %d bytes accounted, %d alive, %d orgs", round, s.Entries, s.Bytes, alive, s.Orgs)
		if s.Bytes > budget || s.Orgs > s.Entries {
			t.Errorf("round %d: %d bytes in %d entries of %d organisations", round, s.Bytes, s.Entries, s.Orgs)
		}
		most = max(most, alive)
	}
	if most > budget*5/4 {
		t.Errorf("%d bytes are alive, the budget is %d", most, budget)
	}
}
