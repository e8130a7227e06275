package cli

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
)

const defaultKeys = 100

// The routes of the server for keys as they are stored.
const (
	keysRoute    = "/api/v1/keys"    // ?kind=&org=&cursor=&limit=
	inspectRoute = "/api/v1/inspect" // ?key=
)

// storedKey is a key of the store.
type storedKey struct {
	Key       string            `json:"key"`
	Kind      string            `json:"kind"`
	Org       string            `json:"org,omitempty"`
	ID        string            `json:"id,omitempty"`
	Version   jackcache.Version `json:"version"`
	Messages  int               `json:"messages,omitempty"`
	Bytes     int               `json:"bytes"`
	ExpiresAt *time.Time        `json:"expiresAt,omitempty"`
	Value     json.RawMessage   `json:"value,omitempty"`
}

type keyPage struct {
	Keys   []storedKey `json:"keys"`
	Cursor string      `json:"cursor"`
}

// listing is what keys was asked for.
type listing struct {
	org, kind string
	limit     int // 0: all
}

func (a *app) keysCommand() *cobra.Command {
	var l listing
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "List the keys that are stored",
		Long: `Lists the keys of the store by kind. It walks over the store in steps and never
blocks it; a key that is written meanwhile may be missing. With --json: one
object per line.`,
		Example: `  jackcache keys --org org-123 --limit 20
  jackcache keys --kind phoneToLead --json | jq -r .key`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case l.limit < 0:
				return usage("--limit is negative; 0 means all")
			case cmd.Flags().Changed("org") && l.org == "":
				return usage("--org is empty; leave it out to list all organisations")
			}
			return a.with(cmd.Context(), existing, func(ctx context.Context, c *client) error {
				return a.keys(ctx, c, l)
			})
		},
	}
	cmd.Flags().StringVar(&l.org, "org", "", "only those of this organisation")
	cmd.Flags().StringVar(&l.kind, "kind", "", "only those of this kind")
	cmd.Flags().IntVar(&l.limit, "limit", defaultKeys, "list at most so many; 0: all")
	completeKinds(cmd)
	return cmd
}

// storedKinds are the names of the kinds that the store has.
func storedKinds() []string {
	names := []string{jackcache.ConversationKind}
	for _, k := range assistant.NewKinds(assistant.TTLs{}).All() {
		if !k.Info().LocalOnly {
			names = append(names, k.Info().Name)
		}
	}
	slices.Sort(names)
	return names
}

func completeKinds(cmd *cobra.Command) {
	names := cobra.FixedCompletions(storedKinds(), cobra.ShellCompDirectiveNoFileComp)
	if err := cmd.RegisterFlagCompletionFunc("kind", names); err != nil {
		panic(err) // the flag is declared before
	}
}

func (a *app) keys(ctx context.Context, c *client, l listing) error {
	kinds := storedKinds()
	if l.kind != "" {
		kinds = []string{l.kind}
	}
	var rows [][]any
	listed, more := 0, false
	for _, l.kind = range kinds {
		err := c.list(ctx, l, func(k storedKey) (bool, error) {
			if more = l.limit > 0 && listed == l.limit; more {
				return false, nil
			}
			listed++
			if a.json {
				return true, a.printJSON(k)
			}
			rows = append(rows, keyRow(k))
			return true, nil
		})
		if err != nil {
			return err
		}
		if more {
			break
		}
	}
	if len(rows) > 0 {
		a.rows([]string{"key", "kind", "messages", "bytes", "expires in"}, rows)
	}
	if listed == 0 {
		a.say("no keys")
	}
	if more {
		a.say("there are more; raise --limit (0: all)")
	}
	return nil
}

func keyRow(k storedKey) []any {
	messages, expires := "", ""
	if k.Messages > 0 {
		messages = grouped(int64(k.Messages))
	}
	if k.ExpiresAt != nil {
		expires = time.Until(*k.ExpiresAt).Round(time.Second).String()
	}
	return []any{k.Key, k.Kind, right(messages), k.Bytes, right(expires)}
}

// list calls yield with every key of a kind until it returns false; the limit
// is the caller's.
func (c *client) list(ctx context.Context, l listing, yield func(storedKey) (bool, error)) error {
	q := url.Values{"kind": {l.kind}, "limit": {strconv.Itoa(jackcache.MaxList)}}
	if l.org != "" {
		q.Set("org", l.org)
	}
	for {
		var page keyPage
		if _, err := c.get(ctx, keysRoute+"?"+q.Encode(), &page); err != nil {
			return err
		}
		for _, k := range page.Keys {
			if on, err := yield(k); err != nil || !on {
				return err
			}
		}
		if page.Cursor == "" {
			return nil
		}
		q.Set("cursor", page.Cursor)
	}
}
