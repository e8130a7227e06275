// Command chaos starts Redis and several instances of jackcache, lets clients
// read and write through all of them, kills, freezes, empties, promotes and cuts
// off what there is, and checks afterwards what every instance shows against
// everything that was acknowledged. It runs in its own directory.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	exitBroken = 1 // a promise was broken
	exitFailed = 2 // the run itself failed
)

// flags are those of the command line.
type flags struct {
	plan
	faultList, tableFile, logFile string
	keep, prove                   bool
	crash                         int
	skewList                      string
}

func main() { os.Exit(command(os.Args[1:])) }

func command(args []string) int {
	f, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		return exitFailed
	}
	if err := ownMounts(); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		return exitFailed
	}
	if wantsTag(f.sabotage) && !sabotageBuilt {
		fmt.Fprintln(os.Stderr, "chaos:", rebuilt(f.sabotage, args))
		return exitFailed
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	broken, err := f.execute(ctx)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "chaos:", err)
		return exitFailed
	case broken:
		return exitBroken
	}
	return 0
}

func parse(args []string) (*flags, error) {
	f := &flags{}
	f.progress = os.Stdout
	set := flag.NewFlagSet("chaos", flag.ContinueOnError)
	set.StringVar(&f.scenario, "scenario", "all", strings.Join(scenarios, ", ")+", or all, one after the other")
	set.Uint64Var(&f.seed, "seed", 0, "of the faults and of what clients do; 0: another each time")
	set.DurationVar(&f.duration, "duration", 30*time.Second, "how long faults happen in each scenario")
	set.Float64Var(&f.rate, "rate", 3000, "calls a second, four of five of them writes")
	set.IntVar(&f.instances, "instances", 4, "how many instances; the last is the library in this process")
	set.StringVar(&f.faultList, "faults", "", "which faults, separated by commas; without it all that the scenario has: "+strings.Join(faultNames(), ", "))
	set.StringVar(&f.sabotage, "sabotage", "", "run with a part switched off, which must fail: "+strings.Join(sabotages(), ", "))
	set.StringVar(&f.skewList, "skew", "", "by how much the clocks of the processes are off, in turn, for example 900ms,-700ms; this builds them with the tag "+sabotageTag)
	set.DurationVar(&f.recovery, "recovery", time.Minute, "how long instances may take to be healthy after a fault")
	set.DurationVar(&f.freeze, "freeze", 10*time.Second, "the longest that Redis is stopped")
	set.BoolVar(&f.keep, "keep", false, "keep the directories after a failure")
	set.StringVar(&f.tableFile, "table", "", "also write the table to this file")
	set.StringVar(&f.logFile, "log", "", "write every write to this file")
	set.BoolVar(&f.prove, "prove", false, "run every sabotage and tell whether the checker saw it")
	set.IntVar(&f.crash, "crash", 0, "instead: kill jackcache so many times while Redis is away")
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	return f, f.check(set.Args())
}

func (f *flags) check(rest []string) error {
	var errs []error
	bad := func(name string, got any, want string) {
		errs = append(errs, fmt.Errorf("--%s is %v: allowed are %s", name, got, want))
	}
	if len(rest) > 0 {
		errs = append(errs, fmt.Errorf("unexpected argument %q", rest[0]))
	}
	if f.scenario != "all" && !slices.Contains(scenarios, f.scenario) {
		bad("scenario", fmt.Sprintf("%q", f.scenario), strings.Join(scenarios, ", ")+", all")
	}
	if f.duration <= 0 || f.duration > longestRun {
		bad("duration", f.duration, "up to "+longestRun.String())
	}
	if f.rate < clients || f.rate > 1e6 {
		bad("rate", f.rate, fmt.Sprintf("%d to 1000000", clients))
	}
	if f.instances < 2 || f.instances > 16 {
		bad("instances", f.instances, "2 to 16")
	}
	if f.sabotage != "" && !slices.Contains(sabotages(), f.sabotage) {
		bad("sabotage", fmt.Sprintf("%q", f.sabotage), strings.Join(sabotages(), ", "))
	}
	if f.freeze < 5*time.Millisecond {
		bad("freeze", f.freeze, "5ms and more")
	}
	if f.skewList != "" {
		f.skews = strings.Split(f.skewList, ",")
		for _, s := range f.skews {
			if _, err := time.ParseDuration(s); err != nil {
				bad("skew", fmt.Sprintf("%q", s), "durations such as 900ms or -2s, separated by commas")
			}
		}
	}
	if f.faultList != "" {
		f.faults = strings.Split(f.faultList, ",")
		if _, err := chosen(standalone, f.faults); err != nil {
			errs = append(errs, err)
		}
	}
	if f.seed == 0 {
		f.seed = uint64(time.Now().UnixNano()) % 1e9
	}
	return errors.Join(errs...)
}

// execute does what the flags say. Broken means that a promise was.
func (f *flags) execute(ctx context.Context) (broken bool, err error) {
	dir, err := os.MkdirTemp("", "jackcache-chaos")
	if err != nil {
		return false, err
	}
	defer func() {
		if f.keep && (broken || err != nil) {
			fmt.Fprintln(f.progress, "kept:", dir)
			return
		}
		_ = os.RemoveAll(dir) // it is temporary anyway
	}()
	f.dir = dir
	debug.SetGCPercent(400) // the machine is for what is tested
	if f.prove {
		return f.proveAll(ctx)
	}
	if f.binary, err = build(ctx, dir, wantsTag(f.sabotage) || len(f.skews) > 0); err != nil {
		return false, err
	}
	if f.logFile != "" {
		log, err := os.Create(f.logFile)
		if err != nil {
			return false, err
		}
		defer func() { _ = log.Close() }() // the run has told when it could not be written
		f.plan.log = log
	}
	if f.crash > 0 {
		return crash(ctx, f.plan, f.crash)
	}
	return f.runAll(ctx)
}

func (f *flags) runAll(ctx context.Context) (broken bool, err error) {
	todo := scenarios
	if f.scenario != "all" {
		todo = []string{f.scenario}
	}
	var runs []*run
	for _, scenario := range todo {
		p := f.plan
		p.scenario, p.dir = scenario, filepath.Join(f.dir, scenario)
		r, err := execute(ctx, p)
		if err != nil {
			return broken, fmt.Errorf("%s, seed %d: %w", scenario, p.seed, err)
		}
		r.ledger.forget()
		summarize(f.progress, r, p.commandLine())
		broken = broken || r.failed()
		runs = append(runs, r)
	}
	w := []io.Writer{f.progress}
	if f.tableFile != "" {
		file, err := os.Create(f.tableFile)
		if err != nil {
			return broken, err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		w = append(w, file)
	}
	if err := table(io.MultiWriter(w...), runs); err != nil {
		return broken, err
	}
	fmt.Fprintln(f.progress, "seed", f.seed)
	return broken, nil
}

// commandLine repeats a run.
func (p plan) commandLine() string {
	line := fmt.Sprintf("go run . --scenario %s --seed %d --duration %v --rate %v --instances %d", p.scenario, p.seed, p.duration, p.rate, p.instances)
	if len(p.faults) > 0 {
		line += " --faults " + strings.Join(p.faults, ",")
	}
	if len(p.skews) > 0 {
		line += " --skew " + strings.Join(p.skews, ",")
	}
	if p.sabotage != "" {
		line += " --sabotage " + p.sabotage
	}
	return line
}
