package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// health is what this program reads of GET /api/health.
type health struct {
	Status        string    `json:"status"`
	Version       string    `json:"version"`
	UptimeSeconds int64     `json:"uptimeSeconds"`
	Draining      bool      `json:"draining"`
	Problems      []string  `json:"problems"`
	Timestamp     time.Time `json:"timestamp"`
	Store         store     `json:"store"`
	Journal       *journal  `json:"journal"`

	Near nearHealth `json:"near"`
}

type store struct {
	Kind          string    `json:"kind"`
	State         string    `json:"state"`
	Since         time.Time `json:"since"`
	ServerVersion string    `json:"serverVersion"`
	UsedBytes     int64     `json:"usedBytes"`
	MaxBytes      int64     `json:"maxBytes"`
	Keys          int64     `json:"keys"`
	Nodes         []node    `json:"nodes"`
}

// node is one Redis server.
type node struct {
	Addr            string    `json:"addr"`
	State           string    `json:"state"`
	Since           time.Time `json:"since"`
	Problem         string    `json:"problem"`
	Version         string    `json:"version"`
	Role            string    `json:"role"`
	Replicas        int       `json:"replicas"`
	Persistence     string    `json:"persistence"`
	MaxMemoryPolicy string    `json:"maxmemoryPolicy"`

	Near *nearProof `json:"near"` // nil: no copies are kept
}

// String tells of a server what an operator asks first.
func (n node) String() string {
	parts := []string{n.Addr, n.State + " since " + n.Since.Format(time.RFC3339)}
	if n.Version != "" {
		parts = append(parts, n.Version, n.Role, fmt.Sprintf("%d replicas", n.Replicas),
			"persistence "+n.Persistence, "maxmemory-policy "+n.MaxMemoryPolicy)
	}
	if n.Problem != "" {
		parts = append(parts, n.Problem)
	}
	if n.Near != nil {
		parts = append(parts, n.Near.String())
	}
	return strings.Join(parts, ", ")
}

func (a *app) healthCommand() *cobra.Command {
	var which string
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Tell how the cache is",
		Long: `Tells how the cache is, and what is wrong.

Exit codes: 0 healthy or degraded (the problems are printed), 1 unhealthy or not
reachable. To check a server, name it with --server: otherwise the store itself
is opened where nothing listens.

With --probe it asks a running server one question and prints nothing where the
answer is yes: "live" whether the process runs (/livez), "ready" whether requests
should be sent there (/readyz). It never opens the store, and needs no token.`,
		Example: `  jackcache health
  jackcache health --server http://10.0.0.7:8080 --json
  jackcache health --probe ready && echo in service`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("probe") {
				return a.probe(cmd.Context(), which)
			}
			return a.with(cmd.Context(), existing, a.health)
		},
	}
	cmd.Flags().StringVar(&which, "probe", "", "for health checks of containers: live or ready")
	return cmd
}

func (a *app) health(ctx context.Context, c *client) error {
	data, err := c.health(ctx)
	if err != nil {
		return err
	}
	var h health
	if err := decode(data, &h); err != nil {
		return err
	}
	if a.json {
		err = a.printRaw(data)
	} else {
		err = a.showHealth(h)
	}
	if err == nil && h.Status == "unhealthy" {
		err = &silentError{exitFailed}
	}
	return err
}

// health returns the report, also of a server that is unhealthy and says so
// with 503.
func (c *client) health(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	var report json.RawMessage
	_, err := c.get(ctx, "/api/health", &report)
	var api *apiError
	if errors.As(err, &api) && api.Status == http.StatusServiceUnavailable && api.body != nil {
		return api.body, nil
	}
	return report, err
}

func (a *app) showHealth(h health) error {
	fmt.Fprintln(a.out, coloured(h.Status))
	for _, p := range h.Problems {
		fmt.Fprintln(a.out, "  "+printable(p))
	}
	if h.Version == "" {
		a.say("the server tells no more without JACKCACHE_API_TOKEN")
		return nil
	}
	s := h.Store
	line := strings.TrimSpace("store " + s.Kind + " " + s.ServerVersion)
	used := bytesShown(s.UsedBytes)
	if s.MaxBytes > 0 {
		used += " of " + bytesShown(s.MaxBytes)
	}
	_, err := fmt.Fprintf(a.out, "%s, %s since %s, %s\nversion %s, up %s\n",
		printable(line), coloured(s.State), s.Since.Format(time.RFC3339), used,
		printable(h.Version), time.Duration(h.UptimeSeconds)*time.Second)
	for _, n := range s.Nodes {
		fmt.Fprintln(a.out, "  "+printable(n.String()))
	}
	showNearHealth(a.out, h.Near)
	showJournal(a.out, h.Journal, h.Timestamp)
	return err
}
