package replay_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// inBubble runs a test with an instance whose time is that of a bubble.
func inBubble(t *testing.T, test func(t *testing.T, x *instance)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		x := newInstance(t, dir, newFaulty())
		defer func() { x.close() }()
		test(t, x)
	})
}

func refusal(words string) error { return fmt.Errorf("%w: %s", store.ErrRejected, words) }

var (
	errAway    = fmt.Errorf("%w: it is away", store.ErrUnavailable)
	errUnknown = fmt.Errorf("%w: no answer", store.ErrUnknown)
)

// ended are the ways in which calls end that do not end well, and may be repeated.
var ended = map[string]fault{
	"unavailable":              {err: errAway},
	"unknown, not done":        {err: errUnknown},
	"unknown, done":            {err: errUnknown, done: true},
	"hangs":                    {hangs: true},
	"hangs, done":              {hangs: true, done: true},
	"slow":                     {takes: time.Second},
	"full":                     {err: fmt.Errorf("%w: OOM", store.ErrFull)},
	"refused":                  {err: refusal("WRONGTYPE")},
	"refused to this process":  {err: refusal("NOPERM this user has no permissions")},
	"what is there is damaged": {err: fmt.Errorf("%w: no number", store.ErrCorrupt)},
}

// However the first calls end, all that is pending is in the store afterwards,
// once, and nothing is pending any more.
func TestDrain(t *testing.T) {
	for name, end := range ended {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, x *instance) {
				calls := 0
				x.s.is(func(call) fault {
					if calls++; calls <= 12 {
						return end
					}
					return fault{}
				})
				o := org(1)
				for i := range 10 {
					x.accept(x.append(conversation(o, 1), fmt.Sprint("m", i)))
					x.accept(x.set(value(o, i), i))
				}
				x.accept(x.tombstone(value(o, 3)))
				x.accept(x.messages(store.Replace, conversation(o, 1), "r1", "r2"))
				x.accept(x.append(conversation(o, 1), "m10", "r2"))
				x.settled(time.Minute)
				if got, want := x.ids(conversation(o, 1)), []string{"r1", "r2", "m10"}; !slices.Equal(got, want) {
					t.Errorf("messages %v, want %v", got, want)
				}
				for i := range 10 {
					want := fmt.Sprint(i)
					if i == 3 {
						want = ""
					}
					if got := x.reads(value(o, i)); got != want {
						t.Errorf("value %d is %q, want %q", i, got, want)
					}
				}
				if s := x.r.Stats(); s.SetAside > 0 || s.Expired > 0 || s.Replayed != 23 {
					t.Errorf("stats: %+v", s)
				}
			})
		})
	}
}

// What one organisation, or one record of it, cannot have keeps no other
// organisation waiting, and no other record.
func TestFair(t *testing.T) {
	const orgs, each = 40, 60
	bad := org(0)
	for name, c := range map[string]struct {
		fate func(call) fault
		away func(keys.Key) bool
		left int64 // of the bad organisation
		most int   // calls of apply for it in five seconds
	}{
		"all of it hangs": {fate: func(c call) fault { return fault{hangs: c.org == bad && c.what == "apply"} }, left: 3 * each, most: 1000},
		"one record hangs": {
			fate: func(c call) fault { return fault{hangs: c.key == value(bad, 7).String()} }, left: 1, most: 3*each + 10,
		},
		"all of it is refused": {fate: func(c call) fault {
			if c.org == bad && c.what == "apply" {
				return fault{err: refusal("WRONGTYPE")}
			}
			return fault{}
		}, left: 3 * each, most: 12 * 3 * each},
		"one record is refused": {fate: func(c call) fault {
			if c.key == value(bad, 7).String() {
				return fault{err: refusal("WRONGTYPE")}
			}
			return fault{}
		}, left: 1, most: 3*each + 12},
		"its generation is away": {fate: func(c call) fault {
			if c.org == bad && c.what == "generation" {
				return fault{err: errAway}
			}
			return fault{}
		}, left: 3 * each},
		"its keys are not served": {away: func(k keys.Key) bool { return k.Org() == bad }, left: 3 * each},
		"one key is not served": {
			away: func(k keys.Key) bool { return k == value(bad, 7) }, left: 1, most: 3 * each,
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, x *instance) {
				x.s.serves(store.Down, nil)
				for i := range 3 * each { // it comes first, and has the most
					x.accept(x.set(value(bad, i), i))
				}
				for i := range each {
					for o := 1; o < orgs; o++ {
						x.accept(x.set(value(org(o), i), i))
					}
				}
				called := 0
				x.s.is(func(made call) fault {
					if made.org == bad && made.what == "apply" {
						called++
					}
					if c.fate == nil {
						return fault{}
					}
					return c.fate(made)
				})
				x.s.serves(store.Up, c.away)
				others := func() (n int64) { // that wait
					for _, p := range x.j.Outstanding(0, 1<<20) {
						if p.Org != bad {
							n++
						}
					}
					return n
				}
				took := x.within(time.Second, "all others are applied", func() bool { return others() == 0 })
				x.accept(x.set(value(org(1), each), 1))
				took += x.within(500*time.Millisecond, "so is what comes later", func() bool { return others() == 0 })
				time.Sleep(5*time.Second - took)
				synctest.Wait()
				if got := x.j.PendingCount(); got != c.left || called > c.most {
					t.Errorf("after five seconds %d are pending, %d calls were made for it; want %d, at most %d", got, called, c.left, c.most)
				}
				x.s.well()
				x.settled(5 * time.Second)
			})
		})
	}
}

// Who has little to do does not wait for the turns of all who have much, however slow
// those are.
func TestLittleGoesFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, x *instance) {
		const orgs, each = 20, 600
		x.s.serves(store.Down, nil)
		for i := range each {
			for o := range orgs {
				x.accept(x.set(value(org(o), i), i))
			}
		}
		x.s.is(func(call) fault { return fault{takes: 10 * time.Millisecond} })
		x.s.serves(store.Up, nil)
		x.within(5*time.Second, "some are applied", func() bool { return x.j.PendingCount() < (orgs-2)*each })
		late := value(org(orgs), 1)
		x.accept(x.set(late, 1))
		x.within(200*time.Millisecond, "what comes later is applied", func() bool { return !x.j.HasPending(late) })
		if got := x.j.PendingCount(); got < orgs*each/2 {
			t.Errorf("only %d are pending: nothing was to be waited for", got)
		}
		x.settled(time.Minute)
	})
}

// What is refused for good goes to a file after a while, as it was given; what
// is refused to everybody, or for lack of room, waits for ever.
func TestSetAside(t *testing.T) {
	for name, c := range map[string]struct {
		err   error
		aside bool
	}{
		"refused": {refusal("WRONGTYPE Operation against a key"), true}, "damaged": {ended["what is there is damaged"].err, true},
		"full": {ended["full"].err, false}, "no right": {ended["refused to this process"].err, false},
		"away": {errAway, false}, "unknown": {errUnknown, false},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, x *instance) {
				o := org(1)
				x.s.is(func(made call) fault {
					if made.what == "apply" && !strings.Contains(made.key, ":good") {
						return fault{err: c.err}
					}
					return fault{}
				})
				x.accept(x.set(value(o, 1), map[string]int{"n": 1}))
				x.accept(x.tombstone(value(o, 2)))
				x.accept(x.append(conversation(o, 1), "m1", "m2"))
				x.accept(x.messages(store.Replace, conversation(o, 2)))
				time.Sleep(25 * time.Second)
				synctest.Wait()
				if x.j.PendingCount() != 4 || x.r.Stats().SetAside > 0 {
					t.Errorf("after 25 s: %d pending, %+v", x.j.PendingCount(), x.r.Stats())
				}
				calls := x.s.count("apply")
				time.Sleep(time.Minute)
				synctest.Wait()
				if more := x.s.count("apply") - calls; more > 4*40 {
					t.Errorf("%d calls in a minute", more)
				}
				if !c.aside {
					if x.j.PendingCount() != 4 || len(x.lines()) > 0 {
						t.Errorf("%d pending, set aside: %v", x.j.PendingCount(), x.lines())
					}
					x.s.well()
					x.settled(5 * time.Second)
					return
				}
				if x.j.PendingCount() > 0 {
					t.Errorf("%d are pending", x.j.PendingCount())
				}
				got := map[string]map[string]any{}
				for _, l := range x.lines() {
					got[l["action"].(string)] = l
				}
				if v := got["set"]; len(got) != 4 || v["value"] != `{"n":1}` || v["key"] != value(o, 1).String() || v["reason"] != c.err.Error() || v["version"] == "" {
					t.Errorf("set aside: %v", got)
				}
				if m := got["append"]["messages"].([]any); len(m) != 2 || m[1].(map[string]any)["message"] != `{"id":"m2"}` {
					t.Errorf("messages: %v", m)
				}
				x.restart()
				if n := x.r.Stats().SetAside; n != 4 {
					t.Errorf("after a restart %d are set aside", n)
				}
			})
		})
	}
}

// lines reads the file of what was set aside.
func (x *instance) lines() (all []map[string]any) {
	x.t.Helper()
	f, err := os.Open(x.aside())
	if os.IsNotExist(err) {
		return nil
	}
	x.must(err)
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var line map[string]any
		x.must(json.Unmarshal(s.Bytes(), &line))
		all = append(all, line)
	}
	return all
}
