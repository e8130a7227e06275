package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

var seeds = flag.Uint64("seed", 0, "added to the seeds of the runs")

var built struct {
	once        sync.Once
	dir, binary string
	err         error
}

// binary returns the real one, built once.
func binary(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "jackcache-chaos"); built.err == nil {
			built.binary, built.err = build(context.Background(), built.dir, false)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.binary
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir) // it is temporary anyway
	}
	os.Exit(code)
}

// lines sends what a run tells to the test.
type lines struct{ t *testing.T }

func (l lines) Write(b []byte) (int, error) {
	l.t.Helper()
	l.t.Logf("%s", b)
	return len(b), nil
}

// Every fault happens once in each way to run Redis, from a fixed seed. With an
// append-only file Redis loses less than without: "make chaos" has that, too.
func TestEveryFault(t *testing.T) {
	for i, scenario := range []string{standalone, sentinel, cluster} {
		t.Run(scenario, func(t *testing.T) {
			p := plan{
				scenario: scenario, seed: uint64(i+1) + *seeds, rounds: 1, rate: 400, instances: 3,
				recovery: time.Minute, freeze: 2 * time.Second,
				binary: binary(t), dir: t.TempDir(), progress: lines{t},
			}
			r, err := execute(t.Context(), p)
			if err != nil {
				t.Fatalf("seed %d: %v", p.seed, err)
			}
			summarize(lines{t}, r, fmt.Sprintf("go test -run %s -seed %d", t.Name(), *seeds))
			if r.failed() {
				t.Errorf("seed %d: a promise was broken", p.seed)
			}
			if sum := total([]*run{r}); !sum.worked() {
				t.Errorf("the run wrote next to nothing: %v", sum.row())
			}
			for _, c := range r.meter.cells[1:] {
				if c.times == 0 && !(c.name == diskFull && r.fleet.disk == nil) {
					t.Errorf("%s did not happen", c.name)
				}
			}
		})
	}
}

// worked tells whether a run had something to check.
func (c *cell) worked() bool {
	all, acknowledged := c.written()
	return acknowledged > 1000 && acknowledged*2 > all
}

func TestKilledWhileRedisIsAway(t *testing.T) {
	p := plan{seed: 1 + *seeds, recovery: time.Minute, binary: binary(t), dir: t.TempDir(), progress: lines{t}}
	broken, err := crash(t.Context(), p, 10)
	if err != nil {
		t.Fatal(err)
	}
	if broken {
		t.Error("a promise was broken")
	}
}

func TestScheduleIsFixedBySeed(t *testing.T) {
	names := func(seed uint64) (all []string) {
		s := newSchedule(seed, faults)
		for range 3 * len(faults) {
			f, rng := s.next()
			all = append(all, fmt.Sprint(f.name, rng.Uint64()))
		}
		return all
	}
	one, same, other := fmt.Sprint(names(7)), fmt.Sprint(names(7)), fmt.Sprint(names(8))
	if one != same {
		t.Errorf("one seed gives two schedules:\n%s\n%s", one, same)
	}
	if one == other {
		t.Error("two seeds give one schedule")
	}
	s, seen := newSchedule(9, faults), map[string]int{}
	for range 2 * len(faults) {
		f, _ := s.next()
		seen[f.name]++
	}
	for _, f := range faults {
		if seen[f.name] != 2 {
			t.Errorf("%s comes %d times in two rounds", f.name, seen[f.name])
		}
	}
}

func TestFlagsAreChecked(t *testing.T) {
	for _, args := range [][]string{
		{"--scenario", "raft"}, {"--duration", "2h"}, {"--rate", "1"}, {"--instances", "1"}, {"--sabotage", "luck"},
		{"--faults", "freeze,rain"}, {"--freeze", "1ms"}, {"more"},
	} {
		if _, err := parse(args); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
	f, err := parse([]string{"--faults", "freeze,cut", "--seed", "5"})
	if err != nil {
		t.Fatal(err)
	}
	f.plan.scenario = sentinel
	if got, want := f.commandLine(), "go run . --scenario sentinel --seed 5 --duration 30s --rate 3000 --instances 4 --faults freeze,cut"; got != want {
		t.Errorf("the command line is %q, want %q", got, want)
	}
}

// The small disk takes what fits and then no more.
func TestDisk(t *testing.T) {
	d, err := mountDisk(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	if d == nil {
		t.Log("this user may not mount")
		return
	}
	defer d.unmount()
	file := filepath.Join(d.dir, "file")
	write := func() error { return os.WriteFile(file, make([]byte, 8192), 0o600) }
	if err := write(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := d.fill(); err != nil {
		t.Fatal(err)
	}
	if write() == nil {
		t.Error("a full disk takes more")
	}
	for range 2 {
		if err := d.free(); err != nil {
			t.Fatal(err)
		}
	}
	if err := write(); err != nil {
		t.Errorf("a disk that was freed takes nothing: %v", err)
	}
}
