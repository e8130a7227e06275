package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func (a *app) manCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "man --dir DIR",
		Short: "Write manual pages",
		Long: `Writes a manual page for each command into a directory, which is made if it is
not there. The page of jackcache itself has the settings. Where man looks is told
by 'manpath'; a page of any directory is shown by 'man -l FILE'.`,
		Example: `  jackcache man --dir man1
  sudo jackcache man --dir /usr/local/share/man/man1`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if dir == "" {
				return usage("man wants --dir")
			}
			return a.writeManuals(dir)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "directory to write to")
	complete(cmd, "dir", dirs)
	return cmd
}

// writeManuals changes the help of the commands for its purpose: nothing else
// is done in this process.
func (a *app) writeManuals(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	a.root.DisableAutoGenTag = true
	a.root.Long += "\n\n" + indented(settingsHelp())
	header := &doc.GenManHeader{Section: "1", Source: "jackcache " + version(), Manual: "jackcache"}
	if err := doc.GenManTree(a.root, header, dir); err != nil {
		return err
	}
	pages, err := filepath.Glob(filepath.Join(dir, "jackcache*.1"))
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(struct {
			Pages int    `json:"pages"`
			Dir   string `json:"dir"`
		}{len(pages), dir})
	}
	_, err = fmt.Fprintf(a.out, "wrote %d pages to %s\n", len(pages), printable(dir))
	return err
}

// indented is text that is shown as it is.
func indented(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ")
}
