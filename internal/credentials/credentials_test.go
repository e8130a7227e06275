package credentials

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// logged collects log lines.
func logged() (*slog.Logger, func() []string) {
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(&b, nil)), func() []string { return slices.Collect(strings.Lines(b.String())) }
}

func write(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPasswords(t *testing.T) {
	for content, want := range map[string]string{
		"secret": "secret", "secret\n": "secret", "secret\r\n": "secret", " a b ": " a b ",
		"": "", "\n": "", "secret\n\n": "", "a\nb": "", "a\x00": "",
	} {
		log := slog.New(slog.DiscardHandler)
		path := write(t, filepath.Join(t.TempDir(), "password"), content)
		p, err := NewPassword(path)
		if check := CheckPassword(path); (check == nil) != (want != "") || (err == nil) != (check == nil) {
			t.Errorf("%q: %v and %v, want %q", content, err, check, want)
		} else if err == nil && p.Current(log) != want {
			t.Errorf("%q: %q, want %q", content, p.Current(log), want)
		}
	}
}

func TestWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	large := write(t, filepath.Join(dir, "large"), strings.Repeat("x", mostBytes+1))
	for path, want := range map[string]string{
		filepath.Join(dir, "none"): "no such file", dir: "not a regular file", large: "more than", "/dev/zero": "not a regular file",
	} {
		err := CheckPassword(path)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
		if _, err := NewPassword(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want its name", path, err)
		}
	}
}

// A file that cannot be used keeps the last password in force, which is told
// once for each change, without a secret.
func TestPasswordIsReadAgain(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "password"), "first")
	log, lines := logged()
	p, err := NewPassword(path)
	if err != nil {
		t.Fatal(err)
	}
	remove := func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	step := func(do func(), want string, level string) {
		t.Helper()
		before := len(lines())
		do()
		for range 3 {
			if got := p.Current(log); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
		after := lines()
		if level == "" && len(after) != before || level != "" && !strings.Contains(after[len(after)-1], "level="+level) {
			t.Errorf("log %q, want one more of level %q", after, level)
		}
	}
	step(func() {}, "first", "")
	step(func() { write(t, path, "second") }, "second", "INFO")
	step(func() { write(t, path, "") }, "second", "WARN")
	step(remove, "second", "WARN")
	step(func() { write(t, path, "third\n") }, "third", "INFO")
	step(remove, "third", "WARN")
	step(func() { write(t, path, "third\n") }, "third", "")
	step(remove, "third", "WARN")
	all := lines()
	if len(all) != 6 {
		t.Errorf("%d lines, want one for each change:\n%s", len(all), strings.Join(all, ""))
	}
	for _, secret := range []string{"first", "second", "third"} {
		if strings.Contains(strings.Join(all, ""), secret) {
			t.Errorf("the log has %q", secret)
		}
	}
}

// Kubernetes exchanges all files of a secret at once, by renaming the link that
// the others go through; their times may be those of before.
func TestLinksAreFollowed(t *testing.T) {
	dir := t.TempDir()
	mount := func(version, password string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		path := write(t, filepath.Join(dir, version, "password"), password)
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(version, filepath.Join(dir, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	mount("..1", "aaaa")
	if err := os.Symlink("..data/password", filepath.Join(dir, "password")); err != nil {
		t.Fatal(err)
	}
	p, err := NewPassword(filepath.Join(dir, "password"))
	if err != nil {
		t.Fatal(err)
	}
	mount("..2", "bbbb")
	if got := p.Current(slog.New(slog.DiscardHandler)); got != "bbbb" {
		t.Errorf("%q", got)
	}
}
