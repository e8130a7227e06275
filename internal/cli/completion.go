package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// addCompletion adds the command that prints the script of a shell, and says
// what values have a closed set or are files.
func (a *app) addCompletion() {
	a.root.InitDefaultCompletionCmd()
	completion, _, err := a.root.Find([]string{"completion"})
	if err != nil {
		panic(err) // it was added just now
	}
	completion.Short = "Print the completion script of a shell"
	completion.Long = `Prints the script that completes commands, flags and their values in a shell. How
each shell loads it for good is told by its own help, such as
'jackcache completion bash --help'.`
	completion.Example = `  source <(jackcache completion bash)
  jackcache completion zsh > "${fpath[1]}/_jackcache"
  jackcache completion fish > ~/.config/fish/completions/jackcache.fish`
	for _, shell := range completion.Commands() {
		shell.Example = fmt.Sprintf("  jackcache completion %s", shell.Name())
	}
	for row := range all {
		if row.flag() != "" {
			complete(a.root, row.flag(), valuesOf(row))
		}
	}
	for _, cmd := range a.root.Commands() {
		switch cmd.Name() {
		case "import":
			cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
				if len(args) > 0 {
					return nil, cobra.ShellCompDirectiveNoFileComp
				}
				return []string{"ndjson", "ndjson.gz", "gz"}, cobra.ShellCompDirectiveFilterFileExt
			}
		case "export":
			complete(cmd, "output", files)
		}
	}
}

var (
	files = cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault)
	dirs  = cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs)
)

// valuesOf are the values of a setting, where there are few or they are files.
func valuesOf(s setting) cobra.CompletionFunc {
	switch k := s.value.(type) {
	case words:
		return cobra.FixedCompletions(k, cobra.ShellCompDirectiveNoFileComp)
	case onOff:
		return cobra.FixedCompletions([]string{"on", "off"}, cobra.ShellCompDirectiveNoFileComp)
	}
	switch {
	case strings.HasSuffix(s.env, "_DIR"):
		return dirs
	case strings.HasSuffix(s.env, "_FILE"):
		return files
	}
	return cobra.NoFileCompletions
}

// complete replaces what was said about a flag before.
func complete(cmd *cobra.Command, flag string, values cobra.CompletionFunc) {
	if _, ok := cmd.GetFlagCompletionFunc(flag); ok {
		return
	}
	if err := cmd.RegisterFlagCompletionFunc(flag, values); err != nil {
		panic(err) // the flag is declared before
	}
}

// showSettings makes the flags of the settings known to a shell that asks;
// help lists the settings by themselves.
func showSettings(cmd *cobra.Command, flags *pflag.FlagSet) {
	if cmd.Name() != cobra.ShellCompRequestCmd && cmd.Name() != cobra.ShellCompNoDescRequestCmd {
		return
	}
	for row := range all {
		if f := flags.Lookup(row.flag()); f != nil {
			f.Hidden = false
		}
	}
}
