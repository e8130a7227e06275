package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
)

// sabotageTag is the build tag of the mechanisms that can be switched off.
const sabotageTag = "sabotage"

// sabotageVariable says what is switched off in a build with the tag.
const sabotageVariable = "JACKCACHE_SABOTAGE"

// sabotageEnv switches a part off in a process.
func sabotageEnv(what string) []string {
	switch what {
	case "":
		return nil
	case "journal":
		return []string{"JACKCACHE_JOURNAL=off"}
	}
	return []string{sabotageVariable + "=" + what}
}

// wantsTag tells whether a sabotage is built in with the tag only. The journal
// has a setting of its own.
func wantsTag(sabotage string) bool { return sabotage != "" && sabotage != "journal" }

// build builds the real binary. The working directory is that of this command.
func build(ctx context.Context, dir string, tagged bool) (string, error) {
	binary := filepath.Join(dir, "jackcache")
	return binary, goBuild(ctx, binary, "../cmd/jackcache", tagged, "..")
}

func goBuild(ctx context.Context, to, pkg string, tagged bool, module string) error {
	args := []string{"build", "-o", to}
	if tagged {
		args = append(args, "-tags", sabotageTag)
	}
	if module == ".." {
		pkg = "./cmd/jackcache"
	}
	cmd := exec.CommandContext(ctx, "go", append(args, pkg)...)
	cmd.Dir = module
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s in %s (run chaos in its own directory): %w\n%s", pkg, module, err, out)
	}
	return nil
}

// rebuilt replaces this process by one that has the tag. It returns only when
// that fails.
func rebuilt(sabotage string, args []string) error {
	dir, err := os.MkdirTemp("", "jackcache-chaos-tagged")
	if err != nil {
		return err
	}
	binary := filepath.Join(dir, "chaos")
	if err := goBuild(context.Background(), binary, ".", true, "."); err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	env := append(os.Environ(), sabotageEnv(sabotage)...)
	return syscall.Exec(binary, append([]string{binary}, args...), env)
}

// mountsVariable says that this process has mounts of its own.
const mountsVariable = "JACKCACHE_CHAOS_MOUNTS"

// ownMounts replaces this process by one whose mounts nobody else sees, and which
// end with it however it ends, where that is allowed.
func ownMounts() error {
	if os.Getenv(mountsVariable) != "" || os.Geteuid() != 0 {
		return nil
	}
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		return nil // it works without, too: mounts are undone at the end
	}
	if exec.Command(unshare, "--mount", "true").Run() != nil {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := slices.Concat([]string{unshare, "--mount", self}, os.Args[1:])
	return syscall.Exec(unshare, args, append(os.Environ(), mountsVariable+"=own"))
}
