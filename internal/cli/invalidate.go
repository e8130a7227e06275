package cli

import (
	"context"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"
)

func (a *app) invalidateCommand() *cobra.Command {
	var (
		org string
		yes bool
	)
	cmd := &cobra.Command{
		Use:   "invalidate --org ORG",
		Short: "Make everything of an organisation invisible",
		Long: `Makes everything that is kept for an organisation invisible on all servers. It
cannot be undone. What is written afterwards is kept.`,
		Example: `  jackcache invalidate --org org-123
  jackcache invalidate --org org-123 --yes --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if org == "" {
				return usage("invalidate wants --org")
			}
			if !yes {
				if err := a.confirm(fmt.Sprintf("Everything of organisation %q will be gone.", org)); err != nil {
					return err
				}
			}
			return a.with(cmd.Context(), existing, func(ctx context.Context, c *client) error {
				return a.invalidate(ctx, c, org)
			})
		},
	}
	cmd.Flags().StringVar(&org, "org", "", "the organisation")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func (a *app) invalidate(ctx context.Context, c *client, org string) error {
	if _, err := c.call(ctx, http.MethodPost, path("api", "v1", "orgs", org, "invalidate")); err != nil {
		return err
	}
	if a.json {
		return a.printJSON(struct {
			Org         string `json:"org"`
			Invalidated bool   `json:"invalidated"`
		}{org, true})
	}
	_, err := fmt.Fprintf(a.out, "invalidated %s\n", printable(org))
	return err
}
