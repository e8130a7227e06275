package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// release is the version of a build that cannot know it, such as one in a
// container without the repository's history:
//
//	go build -ldflags "-X github.com/jackcache/jackcache/internal/cli.release=v1.2.3"
var release string

// version is that of the module this program was built from, or the commit.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	return versionOf(info)
}

// versionOf reads what the Go command wrote into the program. A build of a
// checkout has the commit, and "+dirty" where files were changed; one with
// -buildvcs=false has nothing.
func versionOf(info *debug.BuildInfo) string {
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return "devel"
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Long: `Prints the version of this program, of the Go that it was built with, and what it
was built for. A server tells its own in 'jackcache health'.`,
		Example: `  jackcache version
  jackcache version --json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			platform := runtime.GOOS + "/" + runtime.GOARCH
			if a.json {
				return a.printJSON(struct {
					Version  string `json:"version"`
					Go       string `json:"go"`
					Platform string `json:"platform"`
				}{version(), runtime.Version(), platform})
			}
			_, err := fmt.Fprintf(a.out, "jackcache %s (%s, %s)\n", version(), runtime.Version(), platform)
			return err
		},
	}
}
