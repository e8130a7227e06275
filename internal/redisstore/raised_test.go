package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
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

// A generation that is raised because it was lost is told to everybody; one that was
// there is not.
func TestRaisedIsTold(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a := startLoad(t, 1, redisstore.Options{Addrs: []string{server.Addr()}})
	a.settled()
	ctx := t.Context()
	told := func(after uint64) (all []string, last uint64) {
		t.Helper()
		notes, err := a.s.Raised(ctx, after)
		if err != nil {
			t.Fatal(err)
		}
		last = after
		for _, r := range notes {
			if r.Note <= last {
				t.Errorf("%+v comes after %d", r, last)
			}
			last = r.Note
			all = append(all, fmt.Sprint(r.Generation, " ", r.Org))
		}
		return all, last
	}
	want := func(after uint64, want ...string) (last uint64) {
		t.Helper()
		all, last := told(after)
		if !slices.Equal(all, want) {
			t.Errorf("%q after %d, want %q", all, after, want)
		}
		return last
	}
	raise := func(name string, g, want uint64) {
		t.Helper()
		if got, err := a.s.RaiseGeneration(ctx, named(t, name), g); err != nil || got != want {
			t.Fatalf("%d, %v; want %d", got, err, want)
		}
	}
	want(0)
	before := uint64(time.Now().UnixMicro())
	there, err := a.s.Invalidate(ctx, named(t, "there"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if at, ok := (store.Raised{Generation: there}).At(); !ok || there < before || at.After(time.Now()) {
		t.Errorf("the generation %d tells %s, %t", there, at, ok)
	}
	raise("there", there-1, there)
	raise("an org ", 7, 7)
	raise("lost", 7, 7)
	raise("lost", 9, 9)
	raise("lost", 8, 9)
	last := want(0, "7 an org ", "7 lost", "9 lost")
	if now := uint64(time.Now().UnixMicro()); last < before || last > now {
		t.Errorf("the last number is %d, not between %d and %d", last, before, now)
	}
	want(last)
	want(last-1, "9 lost")
	raise("other", 3, 3)
	want(last, "3 other")
	// One that is lost again is noted again.
	if _, err := server.Do("DEL", devSpace(t).Generation(named(t, "lost"))); err != nil {
		t.Fatal(err)
	}
	raise("lost", 9, 9)
	want(last, "3 other", "9 lost")
	last = want(0, "7 an org ", "7 lost", "3 other", "9 lost")
	if _, err := server.Do("FLUSHALL"); err != nil {
		t.Fatal(err)
	}
	want(0)
	raise("lost", 9, 9)
	want(last, "9 lost")
	a.end(server)
}

// More notes than are read at once are read all the same, each of them once.
func TestRaisedIsReadInPages(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := openWith(t, redisstore.Options{Space: devSpace(t), Addrs: []string{server.Addr()}})
	const first, page = 1_700_000_000_000_000, 1000
	for _, count := range []int{page - 1, page, page + 1, 2*page + 1} {
		args := []string{"ZADD", devSpace(t).Raised()}
		for i := range count {
			args = append(args, strconv.Itoa(first+i), fmt.Sprint(i, " org-", i))
		}
		if _, err := server.Do(args...); err != nil {
			t.Fatal(err)
		}
		all, err := s.Raised(t.Context(), 0)
		if err != nil || len(all) != count {
			t.Fatalf("%d of %d, %v", len(all), count, err)
		}
		for i, r := range all {
			if want := (store.Raised{Org: named(t, fmt.Sprint("org-", i)), Generation: uint64(i), Note: uint64(first + i)}); r != want {
				t.Fatalf("%+v, want %+v", r, want)
			}
		}
	}
}

// What somebody else has put there is none, and keeps nobody from noting.
func TestRaisedByOthers(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a := startLoad(t, 1, redisstore.Options{Addrs: []string{server.Addr()}})
	a.settled()
	key := devSpace(t).Raised()
	for _, note := range [][2]string{
		{"5", ""}, {"6", "words"}, {"7", "3"}, {"8", "3 "}, {"9", " org"}, {"10", "-3 org"}, {"11", "1e3 org"},
		{"12", "3 " + strings.Repeat("x", 1000)}, {"13", "99999999999999999999 org"}, {"14", "3 \x00"}, {"15.5", "3 org"},
		{"0", "4 org"}, {"-7", "5 org"}, {"-inf", "6 org"}, {"+inf", "7 org"}, {"1e300", "8 org"}, {"9007199254740992", "9 org"},
		{"20", "12 org x"},
	} {
		if _, err := server.Do("ZADD", key, note[0], note[1]); err != nil {
			t.Fatal(err)
		}
	}
	want := []store.Raised{{Org: named(t, "org x"), Generation: 12, Note: 20}}
	if all, err := a.s.Raised(t.Context(), 0); err != nil || !slices.Equal(all, want) {
		t.Errorf("%+v, %v; want %+v", all, err, want)
	}
	lost := named(t, "lost")
	if g, err := a.s.RaiseGeneration(t.Context(), lost, 7); err != nil || g != 7 {
		t.Fatalf("%d, %v", g, err)
	}
	all, err := a.s.Raised(t.Context(), 20)
	if err != nil || len(all) != 1 || all[0].Org != lost || all[0].Generation != 7 {
		t.Errorf("%+v, %v after one is noted", all, err)
	}
	for _, after := range []uint64{store.MaxGeneration, 1<<64 - 1} {
		if all, err := a.s.Raised(t.Context(), after); err != nil || len(all) > 0 {
			t.Errorf("%+v, %v after %d", all, err, after)
		}
	}
	if _, err := server.Do("SET", key, "x"); err != nil {
		t.Fatal(err)
	}
	if all, err := a.s.Raised(t.Context(), 0); !errors.Is(err, store.ErrRejected) || len(all) > 0 {
		t.Errorf("%+v, %v of what is no sorted set", all, err)
	}
	if g, err := a.s.RaiseGeneration(t.Context(), lost, 9); err != nil || g != 9 {
		t.Errorf("%d, %v where it cannot be noted", g, err)
	}
	if _, err := server.Do("DEL", key); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		if all, err := a.s.Raised(ctx, 0); err == nil && len(all) == 1 && all[0].Org == lost && all[0].Generation == 9 {
			a.end(server)
			return
		}
	}
	t.Error("it is not noted when it can be again")
}

// noted runs the script that notes a generation.
func noted(t *testing.T, server *redistest.Server, note string, most int) {
	t.Helper()
	source, err := os.ReadFile("lua/raised_note.lua")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.Do("EVAL", string(source), "1", "raised", note, "60000", strconv.Itoa(most), strconv.Itoa(store.MaxGeneration)); err != nil {
		t.Fatal(err)
	}
}

// Notes have an end, and there is a bound for them: the oldest go.
func TestRaisedIsBounded(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	for i := range 50 {
		noted(t, server, fmt.Sprint(i, " org"), 20)
		if n, err := server.Do("ZCARD", "raised"); err != nil || number(t, n) != min(i+1, 20) {
			t.Fatalf("%s notes of %d, %v", n, i+1, err)
		}
		if rank, err := server.Do("ZREVRANK", "raised", fmt.Sprint(i, " org")); err != nil || rank != "0" {
			t.Fatalf("the newest is at %s, %v", rank, err)
		}
	}
	// What is noted again is new, and takes no place.
	noted(t, server, "30 org", 20)
	if n, err := server.Do("ZCARD", "raised"); err != nil || n != "20" {
		t.Errorf("%s notes, %v", n, err)
	}
	if rank, err := server.Do("ZREVRANK", "raised", "30 org"); err != nil || rank != "0" {
		t.Errorf("what is noted again is at %s, %v", rank, err)
	}
	if left, err := server.Do("PTTL", "raised"); err != nil || number(t, left) < 1 || number(t, left) > 60000 {
		t.Errorf("they live for %s ms more, %v", left, err)
	}
}

// The numbers of notes grow where the clock of the server is behind them.
func TestRaisedGrows(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	ahead := int(time.Now().Add(time.Hour).UnixMicro())
	if _, err := server.Do("ZADD", "raised", strconv.Itoa(ahead), "1 org"); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		note := fmt.Sprint(i+2, " org")
		noted(t, server, note, 20)
		if score, err := server.Do("ZSCORE", "raised", note); err != nil || score != strconv.Itoa(ahead+i+1) {
			t.Errorf("the number is %s, %v; want %d", score, err, ahead+i+1)
		}
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
		if all, err := a.s.Raised(ctx, 0); err == nil && len(all) == 1 && all[0].Org == o && all[0].Generation == 7 {
			return
		}
	}
	t.Error("it is not told when the server of the notes is back")
}
