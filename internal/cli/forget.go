package cli

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
)

type forgetting struct {
	org, phone string
	yes        bool
}

func (a *app) forgetCommand() *cobra.Command {
	var f forgetting
	cmd := &cobra.Command{
		Use:   "forget --org ORG --phone PHONE",
		Short: "Forget a person",
		Long: `Deletes everything that an organisation has of a person: the conversation, its
summary, the lead that the phone belongs to, and what is kept about either. It
cannot be undone, and no import brings it back for JACKCACHE_FORGET_FOR.`,
		Example: `  jackcache forget --org org-123 --phone '+1 604 908 5474'
  jackcache forget --org org-123 --phone +16049085474 --yes --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.org == "" || f.phone == "" {
				return usage("forget wants --org and --phone")
			}
			if !f.yes {
				if err := a.confirm(fmt.Sprintf("Everything that %q has of %s will be gone.", f.org, f.phone)); err != nil {
					return err
				}
			}
			return a.with(cmd.Context(), existing, func(ctx context.Context, c *client) error {
				return a.forget(ctx, c, f)
			})
		},
	}
	cmd.Flags().StringVar(&f.org, "org", "", "the organisation")
	cmd.Flags().StringVar(&f.phone, "phone", "", "the person's phone, in any spelling")
	cmd.Flags().BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	return cmd
}

func (a *app) forget(ctx context.Context, c *client, f forgetting) error {
	data, err := c.call(ctx, http.MethodDelete, path("api", "v1", "orgs", f.org, "conversations", f.phone))
	if err != nil {
		return err
	}
	if a.json {
		return a.printRaw(data)
	}
	var done struct {
		Phone, LeadID string
		Kinds         []string
	}
	if err := decode(data, &done); err != nil {
		return err
	}
	lead := ""
	if done.LeadID != "" {
		lead = ", lead " + printable(done.LeadID)
	}
	_, err = fmt.Fprintf(a.out, "forgot %s%s: %s\n", done.Phone, lead, strings.Join(done.Kinds, ", "))
	return err
}
