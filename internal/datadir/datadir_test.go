package datadir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	id    = "6f1c0f3e-5a43-4c5c-9d0a-2f1b7a0f4e11"
	other = "0b9ad0f4-98a7-4d0f-8f0e-6d3f1f2a9c22"

	here  = "standalone localhost:6379, database 1"
	there = "sentinel a.example:26379,b.example:26379, master jack, database 0"
)

func open(t *testing.T, dir, prefix string) *Record {
	t.Helper()
	r, err := Open(dir, prefix)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func remember(t *testing.T, r *Record, id, place string) {
	t.Helper()
	if err := r.Remember(id, place); err != nil {
		t.Fatal(err)
	}
}

// TestRemember: what was recorded is there for the next process, and the
// environments do not see each other's.
func TestRemember(t *testing.T) {
	dir := t.TempDir()
	dev := open(t, dir, "jack:dev:")
	if dev.ID() != "" {
		t.Errorf("a new directory has id %q", dev.ID())
	}
	remember(t, dev, id, there)
	remember(t, dev, id, here)
	prod := open(t, dir, "jack:prod:")
	if prod.ID() != "" {
		t.Errorf("production has the id of development, %q", prod.ID())
	}
	remember(t, prod, other, there)
	if got := open(t, dir, "jack:dev:"); got.ID() != id || got.Place() != here {
		t.Errorf("dev has %q in %q, want %q in %q", got.ID(), got.Place(), id, here)
	}
	if got := open(t, dir, "jack:prod:").ID(); got != other {
		t.Errorf("prod has %q, want %q", got, other)
	}
}

// TestGolden: the first format stays readable, and is what is written.
func TestGolden(t *testing.T) {
	golden, err := os.ReadFile("testdata/store-1.json")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, FileName)
	if err := os.WriteFile(path, golden, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := open(t, dir, "jack:prod:"); got.ID() != other || got.Place() != there {
		t.Errorf("the golden file has %q in %q, want %q in %q", got.ID(), got.Place(), other, there)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	remember(t, open(t, dir, "jack:dev:"), id, here)
	remember(t, open(t, dir, "jack:prod:"), other, there)
	if written, err := os.ReadFile(path); err != nil || string(written) != string(golden) {
		t.Errorf("written: %s, %v\nwant: %s", written, err, golden)
	}
}

// TestWithoutPlace: a record may not say where the store was.
func TestWithoutPlace(t *testing.T) {
	dir := t.TempDir()
	content := `{"format":1,"stores":{"jack:dev:":"` + id + `"}}` + "\n"
	if err := os.WriteFile(filepath.Join(dir, FileName), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	r := open(t, dir, "jack:dev:")
	if r.ID() != id || r.Place() != "" {
		t.Errorf("it has %q in %q", r.ID(), r.Place())
	}
	remember(t, r, id, here)
	if got := open(t, dir, "jack:dev:"); got.ID() != id || got.Place() != here {
		t.Errorf("then it has %q in %q", got.ID(), got.Place())
	}
}

func TestUnreadable(t *testing.T) {
	for name, content := range map[string]string{
		"cut": `{"format":1,"sto`, "empty": "", "later": `{"format":2,"stores":{}}`, "other": "hello\n",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, FileName)
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(dir, "jack:dev:"); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("error %v, want one that names the file", err)
			}
		})
	}
}

// TestFailedWrite: a record that could not be written is not taken for written.
func TestFailedWrite(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, "jack:dev:")
	if err := os.Mkdir(filepath.Join(dir, FileName+".tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := r.Remember(id, here); err == nil || r.ID() != "" {
		t.Errorf("Remember returned %v and ID is %q", err, r.ID())
	}
}
