// Command bench measures this product beside raw clients and limits, in
// interleaved rounds of one run, and prints one markdown table. What counts are
// the ratios and the CPU per operation: absolute numbers belong to the machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// operation is what a contender does again and again; n differs in each call.
type operation func(ctx context.Context, n int) error

// contender is one way of doing the same thing.
type contender struct {
	name string
	run  operation
	each int // how many operations one run is; 0: one
}

// contest compares contenders; the first is what the others are related to.
type contest struct {
	name       string
	callers    int
	contenders []contender
	goal       string
	serverCPU  func() time.Duration // nil: no server
}

type measurement struct{ perSecond, clientCPU, serverCPU float64 }

// cpu is that of both sides.
func (m measurement) cpu() float64 { return m.clientCPU + m.serverCPU }

func main() {
	rounds := flag.Int("rounds", 9, "interleaved rounds; the median counts")
	slice := flag.Duration("slice", 300*time.Millisecond, "time of one contender in a round")
	only := flag.String("only", "", "run only contests whose name has this text, or one of frozen, replay, start, or peers/ with or without a scene (README.md)")
	profile := flag.String("cpuprofile", "", "write a CPU profile of the run to this file")
	flag.Parse()
	if spec := os.Getenv(childEnv); spec != "" {
		if err := beChild(spec); err != nil {
			fmt.Fprintln(os.Stderr, "bench: child:", err)
			os.Exit(1)
		}
		return
	}
	stop, err := startProfile(*profile)
	if err == nil {
		err = errors.Join(run(*rounds, *slice, *only), stop())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// startProfile writes a CPU profile to a file until stop is called; no name, none.
func startProfile(name string) (stop func() error, err error) {
	if name == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error { pprof.StopCPUProfile(); return f.Close() }, nil
}

func run(rounds int, slice time.Duration, only string) error {
	dir, err := os.MkdirTemp("", "jackcache-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if strings.HasPrefix(only, peersPrefix) {
		return comparePeers(dir, only, rounds, slice)
	}
	for _, a := range alone {
		if a.name == only {
			machine()
			fmt.Printf("\n\n| what | value |\n|---|---|\n")
			return a.run(dir)
		}
	}
	env, err := newEnvironment(dir)
	if err != nil {
		return err
	}
	defer env.close()
	contests, err := env.contests()
	if err != nil {
		return err
	}
	machine()
	fmt.Printf("; medians of %d interleaved rounds of %v each\n\n", rounds, slice)
	fmt.Println("| what | callers | contender | ops/s | ratio | client CPU µs/op | server CPU µs/op | CPU ratio | aim |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|")
	for _, c := range contests {
		if !strings.Contains(c.name, only) {
			continue
		}
		if err := c.compare(rounds, slice); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	if only == "" {
		return env.singles()
	}
	return nil
}

func machine() {
	fmt.Printf("%s %s/%s, GOMAXPROCS %d", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0))
}

func (c contest) compare(rounds int, slice time.Duration) error {
	all := make([][]measurement, len(c.contenders))
	ratios := make([][]float64, len(c.contenders))
	cpus := make([][]float64, len(c.contenders))
	for round := range rounds + 1 {
		var first measurement
		for i, who := range c.contenders {
			m, err := c.measure(who, slice)
			if err != nil {
				return fmt.Errorf("%s: %w", who.name, err)
			}
			if round == 0 {
				continue // warms up
			}
			if i == 0 {
				first = m
			}
			all[i] = append(all[i], m)
			ratios[i] = append(ratios[i], m.perSecond/first.perSecond)
			cpus[i] = append(cpus[i], m.cpu()/first.cpu())
		}
	}
	for i, who := range c.contenders {
		server := "-"
		if c.serverCPU != nil {
			server = fmt.Sprintf("%.1f", median(all[i], func(m measurement) float64 { return m.serverCPU }))
		}
		aim := ""
		if i == len(c.contenders)-1 || strings.HasPrefix(who.name, "jackcache") {
			aim = c.goal
		}
		fmt.Printf("| %s | %d | %s | %.0f | %.2f | %.1f | %s | %.2f | %s |\n", c.name, c.callers, who.name,
			median(all[i], func(m measurement) float64 { return m.perSecond }),
			median(ratios[i], func(r float64) float64 { return r }),
			median(all[i], func(m measurement) float64 { return m.clientCPU }), server,
			median(cpus[i], func(r float64) float64 { return r }), aim)
	}
	return nil
}

func median[T any](xs []T, of func(T) float64) float64 {
	v := make([]float64, len(xs))
	for i, x := range xs {
		v[i] = of(x)
	}
	slices.Sort(v)
	return v[len(v)/2]
}

var serial atomic.Int64 // so that every operation of the run has another number

func (c contest) measure(who contender, slice time.Duration) (measurement, error) {
	ctx := context.Background()
	var (
		wg    sync.WaitGroup
		total atomic.Int64
		first atomic.Pointer[error]
	)
	cpu, server := processCPU(), time.Duration(0)
	if c.serverCPU != nil {
		server = c.serverCPU()
	}
	start := time.Now()
	end := start.Add(slice)
	for range c.callers {
		wg.Go(func() {
			for time.Now().Before(end) && first.Load() == nil {
				if err := who.run(ctx, int(serial.Add(1))); err != nil {
					first.CompareAndSwap(nil, &err)
					return
				}
				total.Add(int64(max(1, who.each)))
			}
		})
	}
	wg.Wait()
	if err := first.Load(); err != nil {
		return measurement{}, *err
	}
	n, took := float64(total.Load()), time.Since(start)
	m := measurement{
		perSecond: n / took.Seconds(),
		clientCPU: float64((processCPU() - cpu).Microseconds()) / n,
	}
	if c.serverCPU != nil {
		m.serverCPU = float64((c.serverCPU() - server).Microseconds()) / n
	}
	return m, nil
}

func processCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
