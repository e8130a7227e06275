package cli

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/cobra"
)

// everyCommand returns all commands that help shows.
func everyCommand(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			all = append(all, everyCommand(c)...)
		}
	}
	return all
}

func examples(cmd *cobra.Command) []string {
	var lines []string
	for line := range strings.SplitSeq(cmd.Example, "\n") {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// TestExamplesParse: every command says what it is for, and its examples are
// commands of this program with flags that it has.
func TestExamplesParse(t *testing.T) {
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	a.newRoot()
	var names []string
	for _, cmd := range everyCommand(a.root) {
		names = append(names, cmd.CommandPath())
	}
	for _, name := range names {
		cmd := find(t, name)
		if len(cmd.Long) < len(cmd.Short) || cmd.Short == "" {
			t.Errorf("%s: the help is too short: %q", name, cmd.Long)
		}
		if len(examples(cmd)) == 0 {
			t.Errorf("%s has no example", name)
		}
		for _, line := range examples(cmd) {
			checkExample(t, name, line)
		}
	}
}

// find looks a command up in a program of its own, whose flags are as given.
func find(t *testing.T, name string) *cobra.Command {
	t.Helper()
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	a.newRoot()
	cmd, _, err := a.root.Find(strings.Fields(name)[1:])
	if err != nil {
		t.Fatal(err)
	}
	return cmd
}

func checkExample(t *testing.T, name, line string) {
	t.Helper()
	words := shellWords(line)
	at := slices.Index(words, "jackcache")
	if at < 0 {
		t.Errorf("%s: %q does not call this program", name, line)
		return
	}
	words = words[at+1:]
	if end := slices.IndexFunc(words, func(w string) bool { return slices.Contains([]string{"|", ">", ")", "&&"}, w) }); end >= 0 {
		words = words[:end]
	}
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	a.newRoot()
	cmd, args, err := a.root.Find(words)
	if err != nil {
		t.Errorf("%s: %q: %v", name, line, err)
		return
	}
	err = cmd.ParseFlags(args)
	if err == nil {
		err = cmd.ValidateArgs(cmd.Flags().Args())
	}
	if err != nil {
		t.Errorf("%s: %q: %v", name, line, err)
	}
	if !strings.HasPrefix(cmd.CommandPath(), name) {
		t.Errorf("%s: %q is an example of %s", name, line, cmd.CommandPath())
	}
}

// shellWords splits a line of an example as a shell does, as far as examples go.
func shellWords(line string) []string {
	var (
		words []string
		word  strings.Builder
		quote rune
	)
	end := func() {
		if word.Len() > 0 {
			words = append(words, word.String())
			word.Reset()
		}
	}
	for _, c := range line {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(c)
		case c == '\'' || c == '"':
			quote = c
		case c == ' ':
			end()
		case strings.ContainsRune("|<>()", c):
			end()
			words = append(words, string(c))
		default:
			word.WriteRune(c)
		}
	}
	end()
	return words
}

// ran are the commands whose examples are run as they stand. Those of the
// others never end, want another server, or change this machine.
var ran = []string{
	"health", "stats", "get", "keys", "import", "export", "invalidate", "forget", "clear", "version", "man",
	"completion bash", "completion zsh", "completion fish", "completion powershell",
}

// elsewhereToo are parts of examples that want what is not here.
var elsewhereToo = []string{"10.0.0.7", "sudo", "| jq"}

// TestExamplesRun: the examples do what they say, against a server with the
// data that they speak of.
func TestExamplesRun(t *testing.T) {
	dir := t.TempDir()
	const lines = `{"map":"conversationContexts","key":"org-123:+16049085474","value":[{"role":"user","content":"hi"}]}
{"map":"phoneToLeadMapping","key":"org-123:+16049085474","value":"lead-7"}
{"map":"organizationCache","key":"org-123","value":{"name":"Dealer"}}
`
	for name, script := range map[string]string{
		"conversations.ndjson":        "cat >conversations.ndjson",
		"conversations.ndjson.gz":     "gzip -c >conversations.ndjson.gz",
		"old/conversations.ndjson.gz": "mkdir -p old && gzip -c >old/conversations.ndjson.gz",
	} {
		cmd := exec.Command("sh", "-c", script)
		cmd.Dir, cmd.Stdin = dir, strings.NewReader(lines)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v %s", name, err, out)
		}
	}
	p, err := start(dir, []string{"PATH=" + os.Getenv("PATH")}, "--addr", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	run := func(line string) {
		t.Helper()
		cmd := exec.Command("sh", "-c", line)
		cmd.Dir, cmd.Env = dir, []string{"PATH=" + os.Getenv("PATH"), "JACKCACHE_ADDR=" + p.addr, quickEnd}
		out, err := cmd.CombinedOutput()
		if asks := strings.Contains(string(out), "say --yes"); err != nil && !asks || asks && strings.Contains(line, "--yes") {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
	}
	for _, name := range ran {
		cmd := find(t, "jackcache "+name)
		for _, line := range examples(cmd) {
			if !slices.ContainsFunc(elsewhereToo, func(part string) bool { return strings.Contains(line, part) }) {
				run("jackcache import conversations.ndjson >import.log && " + line)
			}
		}
	}
	for _, made := range []string{"backup.ndjson.gz", "leads.ndjson", "man1/jackcache.1", "man1/jackcache-get.1"} {
		if info, err := os.Stat(filepath.Join(dir, made)); err != nil || info.Size() == 0 {
			t.Errorf("the examples did not make %s: %v", made, err)
		}
	}
	if code, err := p.end(syscall.SIGTERM); code != 0 || err != nil {
		t.Error(errors.Join(err), code, p.output())
	}
}
