package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const helpWidth = 92

// addSettings gives every setting of the table its flag. Help lists them by the
// table instead of by flag.
func addSettings(flags *pflag.FlagSet) {
	for row := range all {
		name := row.flag()
		if name == "" {
			continue
		}
		flags.String(name, row.def, row.help)
		f := flags.Lookup(name)
		f.Hidden = true
		if _, ok := row.value.(onOff); ok {
			f.NoOptDefVal = "on"
		}
	}
}

// flagValues is the layer of the flags that were given.
func flagValues(flags *pflag.FlagSet) layer {
	l := layer{name: flagLayer, values: make(map[string]string)}
	for row := range all {
		if f := flags.Lookup(row.flag()); f != nil && f.Changed {
			l.values[row.env] = f.Value.String()
		}
	}
	return l
}

// setHelp adds the settings to the help of the root and of serve, and a pointer
// to them everywhere else.
func setHelp(root *cobra.Command) {
	cobra.AddTemplateFunc("settingsHelp", func(c *cobra.Command) string {
		if c == root || c.Name() == "serve" {
			return settingsHelp()
		}
		return "Settings of the store and the server: see 'jackcache --help'.\n"
	})
	root.SetUsageTemplate(root.UsageTemplate() + "\n{{settingsHelp .}}")
}

func settingsHelp() string {
	var b strings.Builder
	b.WriteString("Settings. A flag wins over an environment variable, that over a line of .env in the\nworking directory. An empty value is none. Secrets have no flag.\n")
	for _, g := range table {
		fmt.Fprintf(&b, "\n%s:\n", g.title)
		for _, s := range g.rows {
			head := "  " + s.env
			if s.flag() != "" {
				head = fmt.Sprintf("%-38s --%s", head, s.flag())
			}
			if s.def != "" {
				head = fmt.Sprintf("%-68s default %s", head, s.def)
			}
			fmt.Fprintf(&b, "%s\n%s", strings.TrimRight(head, " "), wrapped(s.help, "      "))
		}
	}
	return b.String()
}

// wrapped breaks text at spaces.
func wrapped(text, indent string) string {
	var b strings.Builder
	n := 0
	for _, word := range strings.Fields(text) {
		if n > 0 && n+1+len(word) > helpWidth {
			b.WriteByte('\n')
			n = 0
		}
		if n == 0 {
			b.WriteString(indent)
			n = len(indent)
		} else {
			b.WriteByte(' ')
			n++
		}
		b.WriteString(word)
		n += len(word)
	}
	b.WriteByte('\n')
	return b.String()
}

// settingsPage is docs/configuration.md.
func settingsPage() string {
	var b strings.Builder
	b.WriteString(`# Configuration

<!-- Written from the table of settings in internal/cli/settings.go by
     go test ./internal/cli -run TestSettingsPage -update -->

A flag wins over an environment variable, that over a line of ` + "`.env`" + ` in the working directory, that over the default.
An empty value is none. Secrets have no flag and are never printed. A wrong value is refused with the name of the
setting, the value and what is allowed; all problems are reported at once, with exit code 2.

Without ` + "`REDIS_HOST`, `REDIS_ADDRS` and `REDIS_URL`" + ` the embedded store is used. With ` + "`NODE_ENV=production`" + ` that must be said by
` + "`JACKCACHE_STORE=embedded`" + ` (or ` + "`USE_REDIS=false`" + `), so that a lost variable does not part an instance from the others silently.

What is wrong with the settings of Redis is reported where the store is opened, files that are missing or of no use included. Passwords
and certificates in files are read again for every new connection, so they are exchanged without a restart; connections that
are open stay so. Files that cannot be used leave in force what was read before, which is logged once for each change.
`)
	for _, g := range table {
		fmt.Fprintf(&b, "\n## %s\n\n| Variable | Flag | Default | Allowed | Meaning |\n|---|---|---|---|---|\n", g.title)
		for _, s := range g.rows {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", s.env, code("--", s.flag()), code("", s.def), s.value.allowed(), s.help)
		}
	}
	return b.String()
}

func code(prefix, s string) string {
	if s == "" {
		return ""
	}
	return "`" + prefix + s + "`"
}

// settingsExample is .env.example.
func settingsExample() string {
	var b strings.Builder
	b.WriteString(`# Settings of jackcache. Copy this file to .env and change what you need; every line
# here has the default, or is an example. docs/configuration.md has all of them.
`)
	for _, g := range table {
		fmt.Fprintf(&b, "\n# %s\n", g.title)
		for _, s := range g.rows {
			fmt.Fprintf(&b, "#%s=%s\n", s.env, s.def)
		}
	}
	return b.String()
}
