package deploy

import (
	"debug/elf"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// root is the repository, the context of the build.
const root = ".."

var built struct {
	once sync.Once
	dir  string
	err  error
}

// binary returns the program as the image has it: built by the commands of the
// Dockerfile from what its context has.
func binary(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "jackcache-deploy"); built.err == nil {
			built.err = build(built.dir)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "out", "jackcache")
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir) // it is temporary anyway
	}
	os.Exit(code)
}

// build runs the commands of the Dockerfile's build stage in dir, with the paths
// of the stage below dir.
func build(dir string) error {
	if err := copyContext(filepath.Join(dir, "src")); err != nil {
		return err
	}
	commands, err := buildCommands()
	if err != nil {
		return err
	}
	for _, c := range commands {
		cmd := exec.Command("sh", "-ec", strings.ReplaceAll(c, " /out", " "+dir+"/out"))
		cmd.Dir = filepath.Join(dir, "src")
		cmd.Env = append(os.Environ(), "TARGETOS="+runtime.GOOS, "TARGETARCH="+runtime.GOARCH, "VERSION=v0.0.0-test")
		if out, err := cmd.CombinedOutput(); err != nil {
			return errors.Join(err, errors.New(c+"\n"+string(out)))
		}
	}
	return nil
}

// copyContext copies what Dockerfile.dockerignore lets through.
func copyContext(to string) error {
	names, err := contextFiles()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := copyFile(filepath.Join(to, name), filepath.Join(root, name)); err != nil {
			return err
		}
	}
	return nil
}

// contextFiles are the files of the build's context, as paths below the root.
func contextFiles() ([]string, error) {
	f, err := os.Open("Dockerfile.dockerignore")
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was read
	patterns, err := ignorefile.ReadAll(f)
	if err != nil {
		return nil, err
	}
	ignored, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, err
	}
	var names []string
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == ".git" {
			return fs.SkipDir
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		skip, err := ignored.MatchesOrParentMatches(name)
		if err == nil && !skip && d.Type().IsRegular() {
			names = append(names, name)
		}
		return err
	})
	return names, err
}

func copyFile(to, from string) (err error) {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // it was read
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func TestBinaryIsStatic(t *testing.T) {
	f, err := elf.Open(binary(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	libraries, err := f.ImportedLibraries()
	if err != nil || len(libraries) > 0 {
		t.Errorf("it wants the libraries %v (%v); an empty image has none", libraries, err)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("it wants a dynamic linker; an empty image has none")
		}
	}
}

// The version that the image was built with is what the program says it is.
func TestBinaryKnowsItsVersion(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), binary(t), "version").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "jackcache v0.0.0-test (") {
		t.Errorf("%q, %v", out, err)
	}
}

func TestContextHasNothingToHide(t *testing.T) {
	names, err := contextFiles()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		base := filepath.Base(name)
		switch {
		case strings.HasPrefix(base, "."), strings.HasSuffix(base, ".db"), strings.Contains(name, "jackcache-data"):
			t.Errorf("%s goes into the build", name)
		}
	}
}
