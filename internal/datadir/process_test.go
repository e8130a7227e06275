package datadir

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// locked is the file in dir that a process has locked.
func locked(t *testing.T, dir string) *os.File {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func succeed(t *testing.T, dir, process string, want ...string) {
	t.Helper()
	dead, err := Succeed(locked(t, dir), process)
	if err != nil || !slices.Equal(dead, want) {
		t.Errorf("%s succeeds %q, %v; want %q", process, dead, err, want)
	}
}

func recorded(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, ProcessFile))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// record writes what is recorded, changed.
func record(t *testing.T, dir, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, ProcessFile), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Whoever had the lock of a directory before does not live any more.
func TestSucceed(t *testing.T) {
	dir := t.TempDir()
	succeed(t, dir, "a")
	succeed(t, dir, "b", "a")
	succeed(t, dir, "c", "a", "b")
	// Of a loop of starts the newest are known.
	for i := range 2 * mostProcesses {
		if _, err := Succeed(locked(t, dir), fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	dead, err := Succeed(locked(t, dir), "d")
	if err != nil || len(dead) != mostProcesses || dead[mostProcesses-1] != fmt.Sprint(2*mostProcesses-1) {
		t.Errorf("%q, %v; want the newest %d", dead, err, mostProcesses)
	}
}

// Who had a copy of the directory, or the directory on another host or before this one
// was started anew, may live.
func TestSucceedNobodyWhoMayLive(t *testing.T) {
	dir := t.TempDir()
	succeed(t, dir, "a")
	here := recorded(t, dir)
	boot, err := os.ReadFile(bootIDPath)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := strings.Replace(here, strings.TrimSpace(string(boot)), "another", 1)
	if elsewhere == here {
		t.Fatalf("%s does not have the id of this run of the kernel", here)
	}
	record(t, dir, elsewhere)
	succeed(t, dir, "b")
	succeed(t, dir, "c", "b")

	record(t, dir, here)
	other := t.TempDir() // with what a copy has
	_ = locked(t, other)
	record(t, other, here)
	succeed(t, other, "b")
	succeed(t, other, "c", "b")
	succeed(t, dir, "d", "a")

	if err := os.Rename(filepath.Join(dir, "lock"), filepath.Join(dir, "former")); err != nil { // "d" may have it yet
		t.Fatal(err)
	}
	succeed(t, dir, "e")

	for _, content := range []string{
		`{"format":1,"processes":["a"]}`, `{"format":1,"kernel":"","lock":"","processes":["a"]}`,
	} {
		record(t, dir, content)
		succeed(t, dir, "f")
	}
}

// Where it is not known which lock that is, it is not the same.
func TestSameLock(t *testing.T) {
	for _, p := range []processes{{}, {Kernel: "k"}, {Lock: "l"}} {
		if p.sameLock(p) {
			t.Errorf("%+v are the same", p)
		}
	}
	if p := (processes{Kernel: "k", Lock: "l"}); !p.sameLock(p) || p.sameLock(processes{Kernel: "k", Lock: "m"}) {
		t.Errorf("%+v", p)
	}
}

// The first format stays readable, and is what is written.
func TestGoldenProcess(t *testing.T) {
	golden, err := os.ReadFile("testdata/process-1.json")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	lock := locked(t, dir)
	boot, err := os.ReadFile(bootIDPath)
	if err != nil {
		t.Fatal(err)
	}
	here := strings.NewReplacer("KERNEL", strings.TrimSpace(string(boot)), "LOCK", identity(lock)).Replace(string(golden))
	for _, process := range []string{id, other} {
		if _, err := Succeed(lock, process); err != nil {
			t.Fatal(err)
		}
	}
	if got := recorded(t, dir); got != here {
		t.Errorf("written: %s\nwant: %s", got, here)
	}
	record(t, dir, here)
	succeed(t, dir, "c", id, other)
}

// What cannot be read says nothing of anybody, and does not stay.
func TestUnreadableProcess(t *testing.T) {
	for name, content := range map[string]string{
		"cut": `{"format":1,"ker`, "empty": "", "later": `{"format":2,"processes":["a"]}`, "other": "hello\n",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			record(t, dir, content)
			dead, err := Succeed(locked(t, dir), "b")
			if len(dead) > 0 || err == nil || !strings.Contains(err.Error(), filepath.Join(dir, ProcessFile)) {
				t.Errorf("%q, %v; want nobody, and an error that names the file", dead, err)
			}
			succeed(t, dir, "c", "b")
		})
	}
}

// Where the record cannot be written those before are known.
func TestUnwrittenProcess(t *testing.T) {
	dir := t.TempDir()
	succeed(t, dir, "a")
	if err := os.Mkdir(filepath.Join(dir, ProcessFile+".tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	if dead, err := Succeed(locked(t, dir), "b"); err == nil || !slices.Equal(dead, []string{"a"}) {
		t.Errorf("%q, %v; want the one before, and an error", dead, err)
	}
}
