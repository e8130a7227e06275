package journal

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

func numbers(rs []*Record) (out []int64) {
	for _, r := range rs {
		out = append(out, r.Op.Version.Millis()-1<<41)
	}
	return out
}

// TestKnown: what is known of a key, step by step.
func TestKnown(t *testing.T) {
	o := testOptions(t)
	j, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	lead, talk := testKey(t, "leads", "org", "1"), testKey(t, keys.Conversations, "org", "2")
	replace := func(kind Kind, n int) *Record {
		r := appendRecord(kind, talk, n)
		r.Op.Action = store.Replace
		return r
	}
	resolve := func(r *Record) *Record { return &Record{Kind: Resolved, Resolves: []Position{r.Position}} }
	p5, p9, r20 := setRecord(Pending, lead, 5), appendRecord(Pending, talk, 9), replace(Pending, 20)
	g2 := setRecord(Applied, lead, 2)
	g2.Op.Generation = 2
	steps := []struct {
		what string
		r    *Record
		key  keys.Key
		want []int64
	}{
		{"a value", setRecord(Applied, lead, 3), lead, []int64{3}},
		{"an older one", setRecord(Applied, lead, 1), lead, []int64{3}},
		{"a pending one", p5, lead, []int64{5}},
		{"a later one beside it", setRecord(Applied, lead, 6), lead, []int64{5, 6}},
		{"a higher generation, which the pending one will have", g2, lead, []int64{5}},
		{"the pending one resolved", nil, lead, []int64{2}},
		{"messages", appendRecord(Applied, talk, 8), talk, nil}, // below the generation
	}
	for _, s := range steps {
		if s.r == nil {
			s.r = resolve(p5)
		}
		appendTest(t, j, s.r)
		if got := numbers(known(t, j, s.key)); !slices.Equal(got, s.want) {
			t.Errorf("%s: known %v, want %v", s.what, got, s.want)
		}
	}
	talk = testKey(t, keys.Conversations, "free", "2")
	p9.Op.Key, r20.Op.Key = talk, talk
	for _, s := range []struct {
		what string
		r    *Record
		want []int64
	}{
		{"a message", appendRecord(Applied, talk, 8), []int64{8}},
		{"a pending one", p9, []int64{8, 9}},
		{"a floor", replace(Applied, 12), []int64{9, 12}},
		{"below the floor", appendRecord(Applied, talk, 11), []int64{9, 12}},
		{"above it", appendRecord(Applied, talk, 13), []int64{9, 12, 13}},
		{"a lower floor", replace(Applied, 10), []int64{9, 12, 13}},
		{"a pending floor", r20, []int64{9, 20}},
		{"resolved", nil, []int64{9, 12, 13}},
	} {
		if s.r == nil {
			s.r = resolve(r20)
		}
		appendTest(t, j, s.r)
		if got := numbers(known(t, j, talk)); !slices.Equal(got, s.want) {
			t.Errorf("%s: known %v, want %v", s.what, got, s.want)
		}
	}
	for _, c := range []struct {
		r    *Record
		want bool
	}{
		{setRecord(Applied, lead, 9), false}, // a lower generation
		{g2, true},
		{appendRecord(Applied, talk, 11), false},
		{appendRecord(Applied, talk, 12), true},
		{replace(Applied, 11), false},
		{replace(Applied, 30), true},
		{setRecord(Applied, testKey(t, "leads", "free", "?"), 1), true},
	} {
		if got := j.Newest(c.r); got != c.want {
			t.Errorf("%v %s %s: newest %t", c.r.Op.Action, c.r.Op.Key, c.r.Op.Version, got)
		}
	}
	for n := 40; n < 100; n++ { // twice the window of 10
		appendTest(t, j, appendRecord(Applied, talk, n))
	}
	want := append([]int64{9, 12}, func() (ns []int64) {
		for n := int64(81); n < 100; n++ {
			ns = append(ns, n)
		}
		return ns
	}()...)
	if got := numbers(known(t, j, talk)); !slices.Equal(got, want) {
		t.Errorf("a long conversation: known %v, want %v", got, want)
	}
	if j.Highest() != version(99) {
		t.Errorf("highest %s", j.Highest())
	}
	before := numbers(known(t, j, talk))
	checkState(t, j)
	closeTest(t, j)
	again := openTest(t, o)
	if got := numbers(known(t, again, talk)); !slices.Equal(got, before) || again.Highest() != version(99) {
		t.Errorf("opened again: known %v, want %v", got, before)
	}
}

// TestInvalidationEnds: what is pending of an organisation before an invalidation
// is not after it; what comes later is.
func TestInvalidationEnds(t *testing.T) {
	j := openTest(t, testOptions(t))
	k, other := testKey(t, "leads", "org", "1"), testKey(t, "leads", "other", "1")
	appendTest(t, j, setRecord(Pending, k, 1), setRecord(Pending, other, 2), &Record{Kind: Invalidation, Org: testOrg(t, "org"), Token: version(3)})
	second := &Record{Kind: Invalidation, Org: testOrg(t, "org"), Token: version(4)}
	late := setRecord(Pending, k, 5)
	appendTest(t, j, second, late)
	got := j.Outstanding(0, 9)
	if len(got) != 3 || got[0].Key != other || got[1].Kind != Invalidation || got[1].Position != second.Position || got[2].Position != late.Position {
		t.Errorf("outstanding %+v", got)
	}
	for i := range got {
		got[i].Key = keys.Key{}
	}
	if all, one := j.Waiting(0, 9), j.Waiting(got[0].Position, 1); !slices.Equal(all, got) || !slices.Equal(one, got[1:2]) {
		t.Errorf("waiting %+v, then %+v; outstanding %+v", all, one, got)
	}
	if rs := known(t, j, k); len(rs) != 1 || rs[0].Position != late.Position {
		t.Errorf("known %v", rs)
	}
}

// TestIndexBound: the index stays within its bound, and never loses what is
// pending.
func TestIndexBound(t *testing.T) {
	o := testOptions(t)
	o.IndexKeys = 100
	j := openTest(t, o)
	var pending []keys.Key
	for i := range 1000 {
		k := testKey(t, "leads", "org", fmt.Sprint(i))
		kind := Applied
		if i%50 == 0 {
			kind = Pending
			pending = append(pending, k)
		}
		if err := j.Append(context.Background(), false, setRecord(kind, k, i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := j.Stats().Indexed; n > 100 {
		t.Errorf("%d keys are indexed", n)
	}
	for _, k := range pending {
		if !j.HasPending(k) || len(known(t, j, k)) != 1 {
			t.Errorf("%s is forgotten", k)
		}
	}
	if len(known(t, j, testKey(t, "leads", "org", "999"))) != 1 || len(known(t, j, testKey(t, "leads", "org", "1"))) != 0 {
		t.Error("not the oldest went")
	}
	checkState(t, j)
}

// TestStorm: appends, resolutions and readers of all kinds at once, while
// segments rotate, syncs fail and segments go.
func TestStorm(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	disk := newFaulty()
	luck := rand.New(rand.NewPCG(seed, 0))
	failed := false // never twice, so that what is rescued is safe
	o, _ := smallOptions(t)
	o, err := o.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	j, err := open(o, disk)
	if err != nil {
		t.Fatal(err)
	}
	disk.set(func() { disk.failSync = func() bool { failed = !failed && luck.IntN(50) == 0; return failed } })
	ctx := context.Background()
	var writers, readers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			for n := range 150 {
				k := testKey(t, "leads", fmt.Sprint("org-", w%3), fmt.Sprint(w, "-", n%7))
				r := setRecord(Pending, k, n)
				if err := j.Append(ctx, n%3 == 0, r); err != nil {
					t.Errorf("append: %v", err)
					continue
				}
				if rs, err := j.Known(k); err != nil || !slices.ContainsFunc(rs, func(g *Record) bool { return g.Position == r.Position }) {
					t.Errorf("own write is not known: %v, %v", rs, err)
				}
				done := &Record{Kind: Applied, Op: r.Op, Resolves: []Position{r.Position}}
				done.Time = r.Time
				if err := j.Append(ctx, false, done); err != nil {
					t.Errorf("resolve: %v", err)
				}
			}
		})
	}
	stop := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				var last Position
				err := j.Scan(ctx, 0, j.Position(), func(r *Record) error {
					if r.Position <= last {
						t.Errorf("%x after %x", r.Position, last)
					}
					last = r.Position
					j.Newest(r)
					return nil
				})
				if err != nil {
					t.Errorf("scan: %v", err)
				}
				for _, o := range j.Outstanding(0, 50) {
					if _, err := j.Read(o.Position); err != nil {
						t.Errorf("read: %v", err)
					}
				}
				j.Stats()
				j.Generations()
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	if n := j.PendingCount(); n != 0 {
		t.Errorf("%d pending", n)
	}
	checkState(t, j)
	closeTest(t, j)
}
