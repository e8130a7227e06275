package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// proof is a run that must fail, because a part is switched off.
type proof struct {
	sabotage, scenario, faults string
	seed                       uint64
	duration                   time.Duration
}

// proofs have the faults against which each part is there.
var proofs = []proof{
	{sabotage: "journal", scenario: standalone, faults: "redis-empty", seed: 1, duration: 4 * time.Second},
	{sabotage: "replay", scenario: standaloneAOF, faults: "freeze,partition,jackcache-kill-down", seed: 2, duration: 5 * time.Second},
	{sabotage: "heartbeat", scenario: standalone, faults: "redis-empty,flushall", seed: 3, duration: 6 * time.Second},
	{sabotage: "floor", scenario: standalone, faults: "redis-empty,flushall,freeze,partition", seed: 4, duration: 10 * time.Second},
}

// sabotages are the parts that can be switched off.
func sabotages() []string {
	var names []string
	for _, p := range proofs {
		names = append(names, p.sabotage)
	}
	return names
}

func (p proof) args() []string {
	return []string{
		"--sabotage", p.sabotage, "--scenario", p.scenario, "--faults", p.faults, "--seed", fmt.Sprint(p.seed),
		"--duration", p.duration.String(), "--recovery", "5s", "--freeze", "1s", "--rate", "1500",
	}
}

// run runs a proof in a process of its own and returns what it found.
func (p proof) run(ctx context.Context, binary string) (found string, err error) {
	cmd := exec.CommandContext(ctx, binary, p.args()...)
	// At an end by force the servers end, too: each dies with its parent.
	cmd.Env = append(os.Environ(), sabotageEnv(p.sabotage)...)
	out, err := cmd.CombinedOutput()
	exit := (*exec.ExitError)(nil)
	switch {
	case err == nil:
		return "", fmt.Errorf("without %s nothing was found: %s", p.sabotage, strings.Join(p.args(), " "))
	case !errors.As(err, &exit) || exit.ExitCode() != exitBroken:
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, p.scenario+", seed") {
			return strings.TrimSpace(line), nil
		}
	}
	return "", fmt.Errorf("the run did not tell what it found:\n%s", out)
}

// buildTagged builds this command with the parts that can be switched off.
func buildTagged(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, "chaos")
	return binary, goBuild(ctx, binary, ".", true, ".")
}

// proveAll runs every proof. Broken means that one was not seen.
func (f *flags) proveAll(ctx context.Context) (broken bool, err error) {
	binary, err := buildTagged(ctx, f.dir)
	if err != nil {
		return false, err
	}
	for _, p := range proofs {
		begun := time.Now()
		found, err := p.run(ctx, binary)
		if err != nil {
			broken = true
			found = "NOT SEEN: " + err.Error()
		}
		fmt.Fprintf(f.progress, "without %-9s  %5s  %s\n", p.sabotage, time.Since(begun).Round(time.Second), found)
	}
	return broken, ctx.Err()
}
