package jackcache_test

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/jackcache/jackcache"

// allowed is what each room may import of this module. Imports point down only;
// a room that is not listed here may be imported by nobody.
var allowed = map[string][]string{
	"internal/clock":           {},
	"internal/keys":            {},
	"internal/counter":         {},
	"internal/flight":          {},
	"internal/breaker":         {},
	"internal/credentials":     {},
	"internal/openloop":        {},
	"internal/datadir":         {"internal/clock"},
	"internal/carry":           {"internal/clock", "internal/keys", "internal/record", "internal/store"},
	"internal/telemetry":       {},
	"internal/redistest":       {},
	"internal/record":          {"internal/clock"},
	"internal/store":           {"internal/clock", "internal/keys", "internal/record"},
	"internal/near":            {"internal/clock", "internal/counter", "internal/keys", "internal/record", "internal/store"},
	"internal/filestore":       {"internal/clock", "internal/keys", "internal/record", "internal/store"},
	"internal/redisstore":      {"internal/breaker", "internal/clock", "internal/keys", "internal/record", "internal/sabotage", "internal/store"},
	"internal/sabotage":        {},
	"internal/journal":         {"internal/clock", "internal/keys", "internal/record", "internal/store"},
	"internal/replay":          {"internal/clock", "internal/journal", "internal/keys", "internal/record", "internal/sabotage", "internal/store"},
	"internal/engine":          {"internal/clock", "internal/flight", "internal/journal", "internal/keys", "internal/near", "internal/record", "internal/store"},
	"":                         {"internal/carry", "internal/clock", "internal/counter", "internal/datadir", "internal/engine", "internal/filestore", "internal/journal", "internal/keys", "internal/near", "internal/record", "internal/redisstore", "internal/replay", "internal/store"},
	"assistant":                {""},
	"migrate":                  {"", "assistant"},
	"httpapi":                  {"", "assistant", "migrate"},
	"internal/check":           {"", "assistant", "migrate", "internal/datadir"},
	"internal/cli":             {"", "assistant", "migrate", "httpapi", "internal/credentials", "internal/check", "internal/sabotage", "internal/telemetry"},
	"cmd/jackcache":            {"internal/cli"},
	"internal/store/storetest": {"internal/clock", "internal/keys", "internal/record", "internal/store"},
}

type source struct {
	room string // directory, slash-separated; "" is the root
	path string
	file *ast.File
	set  *token.FileSet
}

func (s source) test() bool { return strings.HasSuffix(s.path, "_test.go") }

func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path != "." {
			return nil // another test had a directory there for a moment
		}
		if err != nil {
			return err
		}
		if d.IsDir() {
			name := d.Name()
			if path != "." && (strings.HasPrefix(name, ".") || name == "testdata" || hasModule(path)) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		room := filepath.ToSlash(filepath.Dir(path))
		if room == "." {
			room = ""
		}
		all = append(all, source{room: room, path: path, file: f, set: set})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func hasModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

func TestImportsPointDown(t *testing.T) {
	for _, s := range sources(t) {
		if s.test() {
			continue
		}
		may, listed := allowed[s.room]
		if !listed {
			t.Errorf("%s: room %q is not in the table of allowed imports", s.path, s.room)
			continue
		}
		for _, spec := range s.file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			room, own := strings.CutPrefix(path, module)
			if !own {
				continue
			}
			room = strings.TrimPrefix(room, "/")
			ok := false
			for _, m := range may {
				ok = ok || m == room
			}
			if !ok {
				t.Errorf("%s imports %q, which %q may not", s.path, room, s.room)
			}
		}
	}
}

func TestPackagesHaveComments(t *testing.T) {
	comment := map[string]bool{}
	for _, s := range sources(t) {
		if !s.test() {
			comment[s.room] = comment[s.room] || s.file.Doc != nil
		}
	}
	for room, has := range comment {
		if !has {
			t.Errorf("package in %q has no comment", room)
		}
	}
}

// bannedCalls are calls that only some files may make.
var bannedCalls = []struct {
	pkg, name string
	may       func(source) bool
	why       string
}{
	{"time", "Sleep", func(s source) bool { return !s.test() || imports(s, "testing/synctest") }, "tests wait for events"},
	{"os", "Getenv", func(s source) bool { return s.room == "internal/cli" || s.room == "internal/sabotage" || s.test() }, "only the command line reads the environment"},
	{"os", "LookupEnv", func(s source) bool { return s.room == "internal/cli" || s.test() }, "only the command line reads the environment"},
	{"os", "Exit", func(s source) bool { return strings.HasPrefix(s.room, "cmd/") || s.room == "internal/cli" || s.test() }, "only the command line ends the process"},
}

func TestBannedCalls(t *testing.T) {
	for _, s := range sources(t) {
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			pkg, ok := sel.X.(*ast.Ident)
			if !ok {
				return true
			}
			for _, b := range bannedCalls {
				if pkg.Name == b.pkg && sel.Sel.Name == b.name && !b.may(s) {
					t.Errorf("%s: %s.%s: %s", s.set.Position(n.Pos()), b.pkg, b.name, b.why)
				}
			}
			return true
		})
	}
}

func imports(s source, path string) bool {
	for _, spec := range s.file.Imports {
		if spec.Path.Value == strconv.Quote(path) {
			return true
		}
	}
	return false
}
