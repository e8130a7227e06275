package clock

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func openCeiling(t *testing.T, path string) *Ceiling {
	t.Helper()
	c, err := OpenCeiling(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestRestart: no reading is lower than one of the process before, wherever the
// host's clock went while it was down. A step back that ends above the time of
// the last Persist cannot be seen; it is like the clock of another instance that
// lags, and a restarted process has another number.
func TestRestart(t *testing.T) {
	for _, jump := range []time.Duration{0, time.Second, time.Hour, -11 * time.Second, -5 * time.Minute, -24 * time.Hour} {
		t.Run(fmt.Sprint(jump), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "clock")
			w := newWall()
			c := New(w.now, 1, openCeiling(t, path))
			if err := c.Persist(); err != nil {
				t.Fatal(err)
			}
			w.move(CeilingReserve - time.Millisecond) // the last moment for the next Persist
			last := c.Now()

			w.move(jump)
			again := New(w.now, 2, openCeiling(t, path))
			if v := again.Now(); v.Compare(last) <= 0 {
				t.Errorf("%s after a restart, %s before it", v, last)
			}
			if jump < 0 {
				// It did not run so far ahead that the store refuses it.
				store := last.WrittenAt().Add(time.Second)
				again.Follow(store)
				v := again.Now()
				if ahead := v.WrittenAt().Sub(store); ahead > CeilingReserve || v.Compare(last) <= 0 {
					t.Errorf("%s, %v ahead of the store; %s was before the restart", v, ahead, last)
				}
			}
		})
	}
}

// TestRestartsDoNotAddUp: a process that is restarted again and again does not
// run ahead of the time of day.
func TestRestartsDoNotAddUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	w := newWall()
	for range 20 {
		c := New(w.now, 1, openCeiling(t, path))
		c.Now()
		if err := c.Persist(); err != nil {
			t.Fatal(err)
		}
		if ahead := c.Now().WrittenAt().Sub(w.now()); ahead > time.Millisecond {
			t.Fatalf("%v ahead", ahead)
		}
	}
}

func TestPersist(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	w := newWall()
	c := New(w.now, 1, openCeiling(t, path))
	check := func(highest time.Time) {
		t.Helper()
		if err := c.Persist(); err != nil {
			t.Fatal(err)
		}
		want := highest.UnixMilli()
		if got := openCeiling(t, path).Millis(); got != want {
			t.Errorf("kept %d, want %d", got, want)
		}
	}
	start := w.now()
	check(start)
	w.move(-time.Hour) // the file never goes back
	check(start)
	w.move(time.Hour)
	c.Observe(NewVersion(start.Add(40*time.Second).UnixMilli(), 0, 2)) // not the time of day
	check(start)
	w.move(2 * time.Minute)
	check(w.now())
	if err := New(w.now, 1, nil).Persist(); err != nil {
		t.Errorf("without a ceiling: %v", err)
	}
}

// TestCeilingCrash: whatever a crash leaves of the file that is being written,
// what was kept before is still there.
func TestCeilingCrash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	if err := openCeiling(t, path).Raise(1000); err != nil {
		t.Fatal(err)
	}
	for _, partial := range []string{"", "2", "20", "2000", "2000\n", "\x00\x00\x00\x00"} {
		if err := os.WriteFile(path+".tmp", []byte(partial), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := openCeiling(t, path).Millis(); got != 1000 {
			t.Errorf("crash after writing %q: %d, want 1000", partial, got)
		}
	}
	c := openCeiling(t, path)
	if err := c.Raise(3000); err != nil {
		t.Fatal(err)
	}
	if got := openCeiling(t, path).Millis(); got != 3000 || c.Millis() != 3000 {
		t.Errorf("after the crash: %d and %d, want 3000", got, c.Millis())
	}
	if _, err := os.Stat(path + ".tmp"); !os.IsNotExist(err) {
		t.Errorf("the temporary file is left: %v", err)
	}
}

func TestCeilingErrors(t *testing.T) {
	dir := t.TempDir()
	for _, content := range []string{"", "\n", "abc", "-1", "12.5", "1e3", "99999999999999999999", "1000 2000", "\x00\x00\x00\x00"} {
		path := filepath.Join(dir, "clock")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenCeiling(path); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "milliseconds") {
			t.Errorf("a file with %q: %v", content, err)
		}
	}
	if _, err := OpenCeiling(dir); err == nil {
		t.Error("a directory was read as a clock file")
	}
	c := openCeiling(t, filepath.Join(dir, "missing", "clock"))
	if err := c.Raise(5); err == nil || c.Millis() != 0 {
		t.Errorf("raised to %d where nothing can be written: %v", c.Millis(), err)
	}
}

// TestCeilingConcurrent: the file is whole at every moment, and what it holds
// only rises.
func TestCeilingConcurrent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	c := openCeiling(t, path)
	if err := c.Raise(1); err != nil {
		t.Fatal(err)
	}
	var writers, reader sync.WaitGroup
	done := make(chan struct{})
	reader.Go(func() {
		for last := int64(1); ; {
			read, err := OpenCeiling(path)
			if err != nil || read.Millis() < last {
				t.Errorf("the file holds %v after %d, %v", read, last, err)
				return
			}
			last = read.Millis()
			select {
			case <-done:
				return
			default:
			}
		}
	})
	for i := range 16 {
		writers.Go(func() {
			for n := range 20 {
				if err := c.Raise(int64(n*16 + i + 1)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	close(done)
	reader.Wait()
	if got := openCeiling(t, path).Millis(); got != 320 || c.Millis() != 320 {
		t.Errorf("kept %d and %d, want the highest, 320", got, c.Millis())
	}
}
