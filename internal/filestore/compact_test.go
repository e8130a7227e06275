package filestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/jackcache/jackcache/internal/store"
)

// fillAndFree leaves a file of which most is free, with a few keys in it.
func (f *fixture) fillAndFree() {
	f.t.Helper()
	big := strings.Repeat("x", 100_000)
	for i := range 60 {
		f.apply(f.set(f.value("gone", fmt.Sprint(i)), big), store.Applied)
	}
	f.apply(f.set(f.value("kept", "1"), "value"), store.Applied)
	f.apply(f.append(f.talk("kept", "1"), "a", "b"), store.Applied)
	if _, err := f.Invalidate(context.Background(), f.org("gone"), 6); err != nil {
		f.t.Fatal(err)
	}
	if err := f.DropOrganisation(context.Background(), f.org("gone")); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) wantKept() {
	f.t.Helper()
	if got := f.live(f.value("kept", "1")); got != "value" {
		f.t.Errorf("value %q after compaction", got)
	}
	if got := f.ids(f.talk("kept", "1")); len(got) != 2 {
		f.t.Errorf("messages %q after compaction", got)
	}
	if g, err := f.Generation(context.Background(), f.org("gone")); g != 7 || err != nil {
		f.t.Errorf("generation %d, %v after compaction, want 7", g, err)
	}
	f.apply(f.set(f.value("kept", "2"), "new"), store.Applied)
}

func fileSize(t testing.TB, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func TestCompaction(t *testing.T) {
	f := newFixture(t)
	f.fillAndFree()
	f.close()
	before := fileSize(t, f.path)
	f.open()
	if after := fileSize(t, f.path); after > before/4 {
		t.Errorf("%d bytes after compaction, %d before", after, before)
	}
	f.wantKept()
	f.close()
	f.open() // and the compacted file is one like any other
	f.wantKept()
}

// TestNotCompacted: a file in use stays the file it is.
func TestNotCompacted(t *testing.T) {
	f := newFixture(t)
	for i := range 30 {
		f.apply(f.set(f.value("a", fmt.Sprint(i)), strings.Repeat("x", 100_000)), store.Applied)
	}
	f.close()
	before, err := os.Stat(f.path)
	if err != nil {
		t.Fatal(err)
	}
	f.open()
	after, err := os.Stat(f.path)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the file was replaced, %v", err)
	}
}

// TestCompactionInterrupted: whatever a crash leaves of a copy is removed, and
// the file that has the name is served.
func TestCompactionInterrupted(t *testing.T) {
	for name, leave := range map[string]func(f *fixture, tmp string){
		"empty copy": func(f *fixture, tmp string) { f.write(tmp, nil) },
		"part of a copy": func(f *fixture, tmp string) {
			b, err := os.ReadFile(f.path)
			if err != nil {
				t.Fatal(err)
			}
			f.write(tmp, b[:len(b)/3])
		},
		"a complete copy without the name": func(f *fixture, tmp string) {
			db, err := openFile(f.path)
			if err == nil {
				err = errors.Join(copyFile(db, tmp), db.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
			// Written after the copy: it would be lost with the file.
			f.open(func(o *Options) { o.Space = f.space })
			f.apply(f.set(f.value("kept", "3"), "later"), store.Applied)
			f.close()
			db, err = openFile(f.path)
			if err == nil {
				err = errors.Join(copyFile(db, tmp), db.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.fillAndFree()
			f.close()
			tmp := f.path + compactSuffix
			leave(f, tmp)
			f.open()
			f.wantKept()
			if _, err := os.Stat(tmp); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the unfinished copy is still there: %v", err)
			}
		})
	}
}

func (f *fixture) write(path string, b []byte) {
	f.t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// TestCompactionKilled: a process that is killed while it compacts leaves the
// old file or the new one.
func TestCompactionKilled(t *testing.T) {
	for range 5 {
		f := newFixture(t)
		f.fillAndFree()
		f.close()
		before, err := os.Stat(f.path)
		if err != nil {
			t.Fatal(err)
		}
		c := startChild(t, "hold", f.path, "")
		for {
			_, err := os.Stat(f.path + compactSuffix)
			now, serr := os.Stat(f.path)
			if err == nil || serr == nil && !os.SameFile(before, now) {
				break
			}
			yield()
		}
		c.kill(t)
		f.open()
		f.wantKept()
	}
}

// TestSwappedFile: who locked a file that lost its name notices.
func TestSwappedFile(t *testing.T) {
	f := newFixture(t)
	file, err := os.Open(f.path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }() // opened for reading
	if err := sameFile(file, f.path); err != nil {
		t.Errorf("the same file: %v", err)
	}
	f.damaged = true
	f.write(f.path+".other", []byte("x"))
	if err := os.Rename(f.path+".other", f.path); err != nil {
		t.Fatal(err)
	}
	if err := sameFile(file, f.path); !errors.Is(err, errSwapped) {
		t.Errorf("another file: %v, want errSwapped", err)
	}
}
