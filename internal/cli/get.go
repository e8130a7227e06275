package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jackcache/jackcache"
)

func (a *app) getCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "get KEY",
		Short: "Print what a key holds",
		Long: `Prints what a key of the store holds. KEY is written as it is stored, as
'jackcache keys' and redis-cli show it. The value is JSON; a conversation is an
array of messages, and a table for people.

Exit code 1 also where nothing is stored under the key.`,
		Example: `  jackcache get jack:dev:conversationContexts:org-123:16049085474
  jackcache get --json jack:dev:organization:org-123 | jq .value`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), existing, func(ctx context.Context, c *client) error {
				return a.get(ctx, c, args[0])
			})
		},
	}
}

func (a *app) get(ctx context.Context, c *client, stored string) error {
	var k storedKey
	data, err := c.get(ctx, inspectRoute+"?"+url.Values{"key": {stored}}.Encode(), &k)
	switch {
	case isProblem(err, "not-found"):
		return fmt.Errorf("nothing is stored under %s", stored)
	case err != nil:
		return err
	case a.json:
		return a.printRaw(data)
	case k.Kind == jackcache.ConversationKind:
		return a.showMessages(k.Value)
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, k.Value, "", "  "); err != nil {
		return fmt.Errorf("the value is not JSON: %w", err)
	}
	for line := range strings.SplitSeq(pretty.String(), "\n") {
		fmt.Fprintln(a.out, printable(line))
	}
	return nil
}

func (a *app) showMessages(value []byte) error {
	var msgs []struct {
		Role               string
		Content, Timestamp any
	}
	if err := decode(value, &msgs); err != nil {
		return err
	}
	rows := make([][]any, len(msgs))
	for i, m := range msgs {
		content, ok := m.Content.(string)
		if !ok {
			raw, _ := json.Marshal(m.Content) // it was JSON before
			content = string(raw)
		}
		rows[i] = []any{i + 1, timeShown(m.Timestamp), m.Role, content}
	}
	a.rows([]string{"#", "time", "role", "content"}, rows)
	return nil
}

// timeShown writes a message's timestamp, milliseconds or text, for people.
func timeShown(v any) string {
	switch t := v.(type) {
	case float64:
		return time.UnixMilli(int64(t)).UTC().Format(time.RFC3339)
	case string:
		return t
	}
	return ""
}
