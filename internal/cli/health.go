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
	Status        string   `json:"status"`
	Version       string   `json:"version"`
	UptimeSeconds int64    `json:"uptimeSeconds"`
	Draining      bool     `json:"draining"`
	Problems      []string `json:"problems"`
	Store         store    `json:"store"`
}

type store struct {
	Kind          string    `json:"kind"`
	State         string    `json:"state"`
	Since         time.Time `json:"since"`
	ServerVersion string    `json:"serverVersion"`
	UsedBytes     int64     `json:"usedBytes"`
	MaxBytes      int64     `json:"maxBytes"`
	Keys          int64     `json:"keys"`
}

func (a *app) healthCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "health",
		Short: "Tell how the cache is",
		Long: `Tells how the cache is, and what is wrong.

Exit codes: 0 healthy or degraded (the problems are printed), 1 unhealthy or not
reachable. To check a server, name it with --server: otherwise the store itself
is opened where nothing listens.`,
		Example: `  jackcache health
  jackcache health --server http://10.0.0.7:8080 --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), existing, a.health)
		},
	}
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
	return err
}
