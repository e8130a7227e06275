package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/joho/godotenv"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"
)

// dotEnv is read from the working directory.
const dotEnv = ".env"

// settings are the values in force.
type settings struct {
	values map[string]any    // by variable; defaults included
	origin map[string]string // by variable: where it was set; absent: the default
	// warnings are about what is probably a mistake.
	warnings []string
	// ofStore are contradictions that matter where the store is opened.
	ofStore problems
	// keys are what the files of passwords and certificates hold.
	keys keyring
}

// layer is one source of values, by variable. Empty values are not set.
type layer struct {
	name   string
	values map[string]string
}

// load puts the layers over the defaults, the first lowest, and returns what is
// wrong with the values.
func load(layers ...layer) (*settings, problems, error) {
	k := koanf.New("\x00") // no name has it: the keys are flat
	s := &settings{values: make(map[string]any), origin: make(map[string]string)}
	for _, l := range layers {
		set := make(map[string]any)
		for row := range all {
			if v := l.values[row.env]; v != "" {
				set[row.env], s.origin[row.env] = v, l.name
			}
		}
		if err := k.Load(confmap.Provider(set, ""), nil); err != nil {
			return nil, problems{}, fmt.Errorf("settings of %s: %w", l.name, err)
		}
		s.warnings = append(s.warnings, misspelt(l)...)
	}
	var p problems
	for row := range all {
		given := k.String(row.env)
		if given == "" {
			given = row.def
		}
		if given == "" {
			s.values[row.env] = zero(row.value)
			continue
		}
		v, ok := row.value.parse(given)
		if !ok {
			p.add("%s is %s (%s): allowed are %s", row.env, row.shown(given), s.source(row), row.value.allowed())
			v = zero(row.value)
		}
		s.values[row.env] = v
	}
	s.checkStore(&s.ofStore)
	return s, p, nil
}

func zero(k kind) any {
	switch k.(type) {
	case redisURL:
		return redisServers{}
	case addrList:
		return []string(nil)
	case onOff:
		return false
	case number:
		return 0
	}
	return ""
}

func (s setting) shown(value string) string {
	if s.secret {
		return "not shown here"
	}
	const most = 80
	if len(value) > most {
		value = value[:most] + "…"
	}
	return fmt.Sprintf("%q", value)
}

func (s *settings) source(row setting) string {
	origin := s.origin[row.env]
	if origin == flagLayer {
		return "--" + row.flag()
	}
	return origin
}

// The layers' names.
const (
	flagLayer = "flag"
	envLayer  = "environment"
)

// set reports whether a setting was given, with any value.
func (s *settings) set(env string) bool { return s.origin[env] != "" }

// value returns a setting. A name that is not in the table, or another type, is
// a mistake of this package.
func value[T any](s *settings, env string) T { return s.values[env].(T) }

// problems collects what is wrong.
type problems struct{ lines []string }

func (p *problems) add(format string, args ...any) {
	p.lines = append(p.lines, fmt.Sprintf(format, args...))
}

// err returns all of them as one.
func (p problems) err() error {
	switch len(p.lines) {
	case 0:
		return nil
	case 1:
		return usage(p.lines[0])
	}
	return usage(fmt.Sprintf("%d settings are wrong:\n  %s", len(p.lines), strings.Join(p.lines, "\n  ")))
}

// readEnvironment returns the layers of the environment and of .env.
func readEnvironment() ([]layer, error) {
	env := layer{name: envLayer, values: make(map[string]string)}
	for _, pair := range os.Environ() {
		name, v, _ := strings.Cut(pair, "=")
		env.values[name] = v
	}
	file, err := godotenv.Read(dotEnv)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if errors.As(err, new(*fs.PathError)) {
		return nil, usage(fmt.Sprintf("cannot read %s: %v", dotEnv, err))
	}
	if err != nil {
		// What was read may be a secret, and the error quotes it.
		return nil, usage(dotEnv + " has a line that is not NAME=value; quote values that have spaces, # or $ with '")
	}
	return []layer{{name: dotEnv, values: file}, env}, nil
}

// misspelt finds names that begin like settings and are none. Kubernetes sets
// JACKCACHE_SERVICE_HOST and the like for a service of that name.
func misspelt(l layer) []string {
	var found []string
	for name := range l.values {
		if !strings.HasPrefix(name, "JACKCACHE_") || strings.Contains(name, "_SERVICE_") || strings.Contains(name, "_PORT") {
			continue
		}
		known := false
		for row := range all {
			known = known || row.env == name
		}
		if !known {
			found = append(found, fmt.Sprintf("%s (%s) is no setting of this version and is ignored", name, l.name))
		}
	}
	slices.Sort(found)
	return found
}
