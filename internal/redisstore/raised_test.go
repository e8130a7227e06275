package redisstore_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/redisstore"
	"github.com/jackcache/jackcache/internal/redistest"
	"github.com/jackcache/jackcache/internal/store"
)

func named(t *testing.T, name string) keys.Org {
	t.Helper()
	o, err := keys.ParseOrg(name)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// A generation that is raised because it was lost is told to everybody, the highest
// of each organisation; one that was there is not.
func TestRaisedIsTold(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a := startLoad(t, 1, redisstore.Options{Addrs: []string{server.Addr()}})
	a.settled()
	ctx := t.Context()
	told := func(upTo string) (map[string]uint64, string) {
		t.Helper()
		all, now, err := a.s.Raised(ctx, upTo)
		if err != nil {
			t.Fatal(err)
		}
		byOrg := make(map[string]uint64)
		for _, r := range all {
			byOrg[r.Org.String()] = r.Generation
		}
		return byOrg, now
	}
	raise := func(name string, g, want uint64) {
		t.Helper()
		if got, err := a.s.RaiseGeneration(ctx, named(t, name), g); err != nil || got != want {
			t.Fatalf("%d, %v; want %d", got, err, want)
		}
	}
	if all, now := told(""); len(all) > 0 || now != "" {
		t.Errorf("%v, %q where nothing was raised", all, now)
	}
	before := uint64(time.Now().UnixMicro())
	there, err := a.s.Invalidate(ctx, named(t, "there"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if at, ok := (store.Raised{Generation: there}).At(); !ok || there < before || at.After(time.Now()) {
		t.Errorf("the generation %d tells %s, %t", there, at, ok)
	}
	raise("there", there-1, there)
	raise("org n", 7, 7) // as the field with the number is called
	raise("lost", 7, 7)
	raise("lost", 9, 9)
	raise("lost", 8, 9)
	all, now := told("")
	if want := map[string]uint64{"org n": 7, "lost": 9}; fmt.Sprint(all) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", all, want)
	}
	if again, same := told(now); len(again) > 0 || same != now {
		t.Errorf("%v, %q again, where nothing has come", again, same)
	}
	raise("n", 3, 3)
	if more, then := told(now); len(more) != 3 || then == now {
		t.Errorf("%v, %q after %q", more, then, now)
	}
	if _, err := server.Do("FLUSHALL"); err != nil {
		t.Fatal(err)
	}
	if all, now := told(now); len(all) > 0 || now != "" {
		t.Errorf("%v, %q after a loss", all, now)
	}
	// What somebody else has put there is none, and kills nobody.
	for _, args := range [][]string{{"n", "x"}, {"o:org-1", "words"}, {"o:", "3 4"}, {"o:" + strings.Repeat("x", 1000), "3 4"}, {"?", ""}, {"o:org-2", "12 x"}} {
		if _, err := server.Do(append([]string{"HSET", devSpace(t).Raised()}, args...)...); err != nil {
			t.Fatal(err)
		}
	}
	if all, now := told(now); len(all) != 1 || all["org-2"] != 12 || now != "x" {
		t.Errorf("%v, %q of what somebody else has written", all, now)
	}
	a.end(server)
}

// Notes have an end, and there is a bound for them: the oldest go.
func TestRaisedIsBounded(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	source, err := os.ReadFile("lua/raised_note.lua")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		if _, err := server.Do("EVAL", string(source), "1", "raised", fmt.Sprint("org-", i), strconv.Itoa(i+1), "60000", "20"); err != nil {
			t.Fatal(err)
		}
		if n, err := server.Do("HLEN", "raised"); err != nil || number(t, n) > 20 {
			t.Fatalf("%s notes, %v", n, err)
		}
		if text, err := server.Do("HGET", "raised", fmt.Sprint("o:org-", i)); err != nil || !strings.HasPrefix(text, strconv.Itoa(i+1)+" ") {
			t.Fatalf("the newest is %q, %v", text, err)
		}
		if i%10 == 0 { // so that their times differ
			start := time.Now()
			for time.Since(start) < 2*time.Millisecond {
				if _, err := server.Do("PING"); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if left, err := server.Do("PTTL", "raised"); err != nil || number(t, left) < 1 || number(t, left) > 60000 {
		t.Errorf("they live for %s ms more, %v", left, err)
	}
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A generation is restored though the server of the notes is away, and told later.
func TestRaisedWhileTheNotesAreAway(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, redistest.ClusterOptions{Replicas: -1, NodeTimeout: 10 * time.Second})
	a := startLoad(t, 1, redisstore.Options{Mode: redisstore.Cluster, Addrs: cluster.Addrs()})
	a.settled()
	notes := cluster.MasterOf(redistest.Slot(devSpace(t).Raised()))
	var o keys.Org
	for i := 0; ; i++ {
		if o = named(t, fmt.Sprint("org-", i)); cluster.MasterOf(redistest.Slot(devSpace(t).Generation(o))) != notes {
			break
		}
	}
	notes.Freeze()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if g, err := a.s.RaiseGeneration(ctx, o, 7); err != nil || g != 7 {
		t.Errorf("%d, %v while the server of the notes hangs", g, err)
	}
	notes.Thaw()
	for ctx.Err() == nil {
		if all, _, err := a.s.Raised(ctx, ""); err == nil && len(all) == 1 && all[0] == (store.Raised{Org: o, Generation: 7}) {
			return
		}
	}
	t.Error("it is not told when the server of the notes is back")
}
