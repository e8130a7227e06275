package filestore

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

var update = flag.Bool("update", false, "write testdata/v1.db anew")

const golden = "testdata/v1.db"

// TestGolden reads a file of format 1 as the first build wrote it.
func TestGolden(t *testing.T) {
	if *update {
		writeGolden(t)
	}
	b, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, path: filepath.Join(t.TempDir(), "store.db"), space: mustSpace(t), time: start.Add(time.Minute)}
	f.clock = clock.New(f.now, 1, nil)
	f.write(f.path, b)
	f.open()
	t.Cleanup(f.close)

	if got := f.live(f.value("org-1", "lead|1")); got != `{"name":"Ann"}` {
		t.Errorf("value %q", got)
	}
	r, err := f.Get(context.Background(), f.value("org-1", "deleted"))
	if err != nil || !r.Found || !r.Value.IsTombstone() {
		t.Errorf("tombstone %+v, %v", r, err)
	}
	if got := f.ids(f.talk("org-1", "16045550001")); !slices.Equal(got, []string{"a", "b", "d", "c"}) {
		t.Errorf("messages %q", got)
	}
	if got := f.ids(f.talk("org-2", "16045550002")); len(got) != 0 {
		t.Errorf("messages %q of a cleared conversation", got)
	}
	below := appendAt(f.talk("org-2", "16045550002"), clock.NewVersion(start.UnixMilli()-1, 0, 1), "late")
	f.apply(below, store.Superseded)
	if got := f.live(f.directory()); got != `{"leadId":"1"}` {
		t.Errorf("directory %q", got)
	}
	if got := f.live(f.value("org-3", "old")); got != "" {
		t.Errorf("value %q of an old generation", got)
	}
	if g, err := f.Generation(context.Background(), f.org("org-3")); g != 4 || err != nil {
		t.Errorf("generation %d, %v, want 4", g, err)
	}
	if n := f.Health().Keys; n != 6 {
		t.Errorf("%d keys, want 6", n)
	}
	// And it can be written and swept.
	f.apply(f.append(f.talk("org-1", "16045550001"), "e"), store.Applied)
	f.advance(3 * time.Hour)
	if err := f.sweep(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n := f.rowCount(f.names.organisations); n != 0 {
		t.Errorf("%d rows are left after everything expired", n)
	}
}

func (f *fixture) directory() keys.Key {
	p, err := keys.ParsePhone("+16045550001", "")
	if err != nil {
		f.t.Fatal(err)
	}
	return f.space.Directory(p)
}

func writeGolden(t *testing.T) {
	f := newFixture(t)
	f.apply(f.set(f.value("org-1", "lead|1"), `{"name":"Ann"}`), store.Applied)
	f.apply(f.tombstone(f.value("org-1", "deleted")), store.Applied)
	talk := f.talk("org-1", "16045550001")
	f.apply(f.append(talk, "a", "b"), store.Applied)
	between := f.clock.Now()
	f.apply(f.append(talk, "c"), store.Applied)
	merged := appendAt(talk, between, "d", "b")
	merged.Mode, merged.Messages[1].Digest = store.Merge, digest{1} // the content of b is kept twice
	f.apply(merged, store.Applied)
	clear := f.append(f.talk("org-2", "16045550002"))
	clear.Action, clear.Keep = store.Replace, 2*time.Hour
	f.apply(clear, store.Applied)
	f.apply(f.set(f.directory(), `{"leadId":"1"}`), store.Applied)
	f.apply(f.set(f.value("org-3", "old"), "old"), store.Applied)
	if _, err := f.Invalidate(context.Background(), f.org("org-3"), 3); err != nil {
		t.Fatal(err)
	}
	f.close()
	db, err := openFile(f.path)
	if err == nil {
		_ = os.Remove(golden) // else a larger one leaves its end
		err = errors.Join(copyFile(db, golden), db.Close(), os.Chmod(golden, 0o644))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestLaterFormat(t *testing.T) {
	f := newFixture(t)
	f.change(func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put(formatRow, []byte("2")) })
	f.close()
	before, err := os.ReadFile(f.path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(f.path, f.options())
	if !errors.Is(err, store.ErrCorrupt) || !strings.Contains(fmt.Sprint(err), `format "2"`) || !strings.Contains(err.Error(), f.path) {
		t.Errorf("error %v, want ErrCorrupt that names file and format", err)
	}
	if after, err := os.ReadFile(f.path); err != nil || !slices.Equal(before, after) {
		t.Errorf("a file that was refused was changed, %v", err)
	}
}

// TestDamagedFiles: what cannot be served is refused, and never ends the process.
func TestDamagedFiles(t *testing.T) {
	f := newFixture(t)
	f.applyAll(2000, func(i int) store.Op { return f.set(f.value("a", fmt.Sprint(i)), strings.Repeat("x", 100)) })
	unclean, err := os.ReadFile(f.path) // as a kill would leave it
	if err != nil {
		t.Fatal(err)
	}
	used := f.Health().UsedBytes
	for name, content := range map[string][]byte{
		"not bbolt":      []byte(strings.Repeat("this is text", 2000)),
		"zeros":          make([]byte, 1<<16),
		"short":          unclean[:100],
		"cut in half":    unclean[:used/2/4096*4096],
		"pages of zeros": append(slices.Clone(unclean[:8192]), make([]byte, len(unclean)-8192)...),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store.db")
			f.write(path, content)
			s, err := Open(path, f.options())
			if err == nil {
				t.Errorf("opened")
				_ = s.Close(context.Background()) // the test has failed
			}
			if !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("error %v, want ErrCorrupt", err)
			}
		})
	}
	if _, err := Open(filepath.Join(t.TempDir(), "no", "store.db"), f.options()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a directory: %v", err)
	}
}

func TestForeignFile(t *testing.T) {
	f := newFixture(t)
	path := filepath.Join(t.TempDir(), "other.db")
	db, err := bbolt.Open(path, 0o600, nil)
	if err == nil {
		err = errors.Join(db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("other")); return err }), db.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, f.options()); !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), "another program") {
		t.Errorf("error %v, want ErrCorrupt of another program", err)
	}
}

// TestDamagedRows: a damaged row is an error of the calls that need it, and
// leaves the others alone.
func TestDamagedRows(t *testing.T) {
	f := newFixture(t) // for its keys
	ctx := context.Background()
	lead, talk := f.value("a", "1"), f.talk("a", "1")
	la, _ := f.names.address(lead)
	ta, _ := f.names.address(talk)
	version := f.clock.Now()
	for name, damage := range map[string]map[string][]byte{
		"empty value":         {string(la.row(rowValue)): {}},
		"short value":         {string(la.row(rowValue)): make([]byte, 20)},
		"value without head":  {string(la.row(rowValue)): append(make([]byte, 0), strings.Repeat("\x7f", 60)...)},
		"short head":          {string(ta.row(rowHead)): make([]byte, 10)},
		"floor":               {string(ta.row(rowHead)): []byte(strings.Repeat("\x00", headLen))},
		"message":             {string(ta.orderRow(rowMessage, orderOf(version))): []byte("broken")},
		"orders of an id":     {string(ta.idRow("m")): []byte("broken")},
		"a name of an order":  {string(ta.row(rowMessage, 'x')): []byte("broken")},
		"a name without base": {"lead:": []byte("x"), string(keys.Conversations) + ":": []byte("x")},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.damaged = true
			f.apply(f.set(lead, "value"), store.Applied)
			f.apply(appendAt(talk, version, "m"), store.Applied)
			f.change(func(tx *bbolt.Tx) error {
				for k, v := range damage {
					if err := rowsOf(tx, f.names, "a").Put([]byte(k), v); err != nil {
						return err
					}
				}
				return nil
			})
			replace := f.append(talk, "n")
			replace.Action = store.Replace
			var errs []error
			for _, call := range []func() error{
				func() error { _, err := f.Get(ctx, lead); return err },
				func() error { _, err := f.Messages(ctx, talk, 0); return err },
				func() error { _, err := f.List(ctx, store.Query{Type: "lead", Org: lead.Org()}); return err },
				func() error {
					_, err := f.List(ctx, store.Query{Type: keys.Conversations, Org: lead.Org()})
					return err
				},
				func() error { _, err := f.Apply(ctx, f.set(lead, "new")); return err },
				func() error { _, err := f.Apply(ctx, f.append(talk, "m")); return err },
				func() error { _, err := f.Apply(ctx, replace); return err },
			} {
				if err := call(); err != nil {
					errs = append(errs, err)
				}
			}
			for _, err := range errs {
				if !errors.Is(err, store.ErrCorrupt) {
					t.Errorf("error %v, want ErrCorrupt", err)
				}
			}
			if len(errs) == 0 {
				t.Error("no call noticed")
			}
			f.apply(f.set(f.value("b", "1"), "beside"), store.Applied)
			if _, err := f.Invalidate(ctx, f.org("a"), 0); err != nil {
				t.Fatal(err)
			}
			f.advance(2 * time.Hour)
			f.mustSweep()
			if err := f.DropOrganisation(ctx, f.org("a")); err != nil {
				t.Errorf("drop: %v", err)
			}
		})
	}
}

func orderOf(v clock.Version) record.Order { return record.Order{Version: v} }

// TestCleanClose: a file that was closed has its list of free pages; one that
// was not is read in full and loses nothing.
func TestCleanClose(t *testing.T) {
	f := newFixture(t)
	clean := func(path string) bool {
		t.Helper()
		db, err := bbolt.Open(path, 0, &bbolt.Options{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }() // opened for reading
		var clean bool
		if err := db.View(func(tx *bbolt.Tx) (err error) { clean, err = checkFormat(tx, path); return err }); err != nil {
			t.Fatal(err)
		}
		return clean
	}
	copied := func() string {
		t.Helper()
		b, err := os.ReadFile(f.path)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "copy.db")
		f.write(path, b)
		return path
	}
	f.apply(f.set(f.value("a", "1"), "x"), store.Applied)
	if clean(copied()) {
		t.Error("a new file is marked as closed while it is open")
	}
	f.close()
	if !clean(f.path) {
		t.Error("not marked after Close")
	}
	f.open()
	f.close()
	if !clean(f.path) {
		t.Error("not marked after an open without a write")
	}
	f.open()
	f.apply(f.set(f.value("a", "1"), "y"), store.Applied)
	path := copied()
	if clean(path) {
		t.Error("still marked after a write")
	}
	f.close()
	f.path = path
	f.open()
	if got := f.live(f.value("a", "1")); got != "y" {
		t.Errorf("value %q of a file that was not closed", got)
	}
}

// TestSpaces: environments in one file do not see each other.
func TestSpaces(t *testing.T) {
	f := newFixture(t)
	prod, err := keys.NewSpace(keys.Prod)
	if err != nil {
		t.Fatal(err)
	}
	dev := f.value("a", "1")
	f.apply(f.set(dev, "dev"), store.Applied)
	if _, err := f.Invalidate(context.Background(), f.org("b"), 0); err != nil {
		t.Fatal(err)
	}
	k := key(t, prod, "lead", "a", "1")
	if _, err := f.Get(context.Background(), k); !errors.Is(err, store.ErrRejected) {
		t.Errorf("key of another environment: %v", err)
	}
	if _, err := f.Get(context.Background(), keys.Key{}); !errors.Is(err, store.ErrRejected) {
		t.Errorf("no key: %v", err)
	}
	f.close()
	f.open(func(o *Options) { o.Space = prod })
	if got := f.live(k); got != "" {
		t.Errorf("production reads %q", got)
	}
	if g, err := f.Generation(context.Background(), f.org("b")); g != 0 || err != nil {
		t.Errorf("production reads generation %d, %v", g, err)
	}
	f.apply(f.set(k, "prod"), store.Applied)
	f.close()
	f.open()
	if got := f.live(dev); got != "dev" {
		t.Errorf("development reads %q", got)
	}
}
