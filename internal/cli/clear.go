package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) clearCommand() *cobra.Command {
	var (
		org      string
		all, yes bool
	)
	cmd := &cobra.Command{
		Use:   "clear --org ORG | --all",
		Short: "Remove everything of an organisation, or of all",
		Long: `Removes everything that is kept for an organisation, or for all of them and the
directory, from the store. It cannot be undone. What is written meanwhile is
kept, and so is the memory of who was forgotten.

It is the way to empty Redis on purpose: FLUSHALL counts as a loss of data.`,
		Example: `  jackcache clear --org org-123
  jackcache clear --all --yes --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (org == "") == !all {
				return usage("clear wants either --org or --all")
			}
			if err := a.confirmClear(org, yes); err != nil {
				return err
			}
			return a.with(cmd.Context(), existing, func(ctx context.Context, c *client) error {
				return a.clear(ctx, c, org)
			})
		},
	}
	cmd.Flags().StringVar(&org, "org", "", "the organisation")
	cmd.Flags().BoolVar(&all, "all", false, "all organisations, and the directory")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// confirmClear wants the name of what is cleared to be typed: y comes too easily.
func (a *app) confirmClear(org string, yes bool) error {
	question, name := fmt.Sprintf("Everything of organisation %q will be gone.", org), org
	if org == "" {
		question, name = "Everything of every organisation will be gone.", "all"
	}
	switch {
	case yes:
		return nil
	case !terminal(a.in):
		return usage(question + " Without a terminal to ask at, say --yes.")
	}
	fmt.Fprintf(a.err, "%s Type %s to go on: ", question, printable(name))
	answer, err := bufio.NewReader(a.in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if strings.TrimSpace(answer) == name {
		return nil
	}
	a.say("nothing was done")
	return &silentError{exitFailed}
}

func (a *app) clear(ctx context.Context, c *client, org string) error {
	target := path("api", "v1", "all") + "?confirm=all"
	if org != "" {
		target = path("api", "v1", "orgs", org)
	}
	// It looks through the whole store, so it may take long.
	resp, err := c.do(ctx, http.MethodDelete, target, nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return notReached(c.String(), err)
	}
	if a.json {
		return a.printRaw(data)
	}
	var done struct{ Organisations, Keys int64 }
	if err := decode(data, &done); err != nil {
		return err
	}
	if org != "" {
		_, err = fmt.Fprintf(a.out, "cleared %s: %s keys\n", printable(org), grouped(done.Keys))
		return err
	}
	_, err = fmt.Fprintf(a.out, "cleared all: %s keys of %s organisations\n", grouped(done.Keys), grouped(done.Organisations))
	return err
}
