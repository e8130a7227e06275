package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jackcache/jackcache"
)

const (
	// monitorSilence is how long a server may say nothing. It says at least that
	// it is there every 5 s.
	monitorSilence = 15 * time.Second
	// monitorRetry is the first pause before a lost connection is tried again; it
	// grows to monitorRetryMost.
	monitorRetry     = 250 * time.Millisecond
	monitorRetryMost = 5 * time.Second
	// largestEvent bounds an event in bytes.
	largestEvent = 64 << 10
)

// errEnough ends a monitor that has shown what was asked for.
var errEnough = errors.New("enough")

// errSilent is the cause that ends a connection on which nothing comes.
var errSilent = fmt.Errorf("nothing came for %v", monitorSilence)

func (a *app) monitorCommand() *cobra.Command {
	w := &watch{a: a, query: url.Values{}}
	var org, kind, op string
	var failures bool
	var sample int
	cmd := &cobra.Command{
		Use:   "monitor",
		Short: "Show the operations of a running server as they end",
		Long: `Shows the operations of a running server as they end, until it is interrupted. It
shows no values, and of an id no more than the last two digits of a phone or the
first two characters. What it shows costs the server little; what a slow terminal
cannot take is counted, not waited for. On a terminal a line sums up every five
seconds, whatever --sample leaves out. With --json: one object per line.

It wants a server: where none listens it fails. A connection that is lost later
is made again.`,
		Example: `  jackcache monitor
  jackcache monitor --errors
  jackcache monitor --org org-123 --op append --count 10
  jackcache monitor --sample 100 --json | jq -r .outcome`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for name, v := range map[string]string{"org": org, "kind": kind, "op": op} {
				if cmd.Flags().Changed(name) && v == "" {
					return usage("--" + name + " is empty; leave it out for all")
				}
				if v != "" {
					w.query.Set(name, v)
				}
			}
			if failures {
				w.query.Set("errors", "only")
			}
			if sample < 1 || sample > jackcache.MaxSample || w.count < 0 {
				return usage(fmt.Sprintf("--sample is %d and --count %d: allowed are 1 to %d, and 0 or more", sample, w.count, jackcache.MaxSample))
			}
			w.query.Set("sample", strconv.Itoa(sample))
			return a.with(cmd.Context(), aServer, w.run)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&org, "org", "", "only this organisation")
	flags.StringVar(&kind, "kind", "", "only this kind")
	flags.StringVar(&op, "op", "", "only this operation, by its name in the stats")
	flags.BoolVar(&failures, "errors", false, "only operations that failed")
	flags.IntVar(&sample, "sample", 1, "show one of so many, left to chance")
	flags.IntVar(&w.count, "count", 0, "end after so many; 0: never")
	completeKinds(cmd)
	names := cobra.FixedCompletions(jackcache.Operations(), cobra.ShellCompDirectiveNoFileComp)
	if err := cmd.RegisterFlagCompletionFunc("op", names); err != nil {
		panic(err) // the flag is declared before
	}
	return cmd
}

// watch is one run of monitor.
type watch struct {
	a     *app
	query url.Values
	count int // of operations to show; 0: no end
	shown int

	opened bool      // the server was reached once
	lost   time.Time // when the connection was; zero: it is there
}

// run shows operations until it is interrupted or has shown enough. A server
// that was never reached, and one that says no, end it with an error.
func (w *watch) run(ctx context.Context, c *client) error {
	wait := monitorRetry
	for {
		err := w.stream(ctx, c)
		switch {
		case ctx.Err() != nil, errors.Is(err, errEnough):
			return nil
		case !w.opened || saysNo(err):
			return err
		}
		if w.lost.IsZero() {
			w.a.say("lost %s: %v; trying again", c, err)
			w.lost, wait = time.Now(), monitorRetry
		}
		retry := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			retry.Stop()
			return nil
		case <-retry.C:
		}
		wait = min(wait*3/2, monitorRetryMost)
	}
}

// saysNo reports whether a server answered that it will not, now or later.
func saysNo(err error) bool {
	var api *apiError
	return errors.As(err, &api) && api.Status < http.StatusInternalServerError
}

// stream shows what comes over one connection. It always returns an error.
func (w *watch) stream(ctx context.Context, c *client) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(monitorSilence, func() { cancel(errSilent) })
	defer silence.Stop()
	err := w.read(ctx, c, func() { silence.Reset(monitorSilence) })
	if cause := context.Cause(ctx); errors.Is(cause, errSilent) {
		return cause
	}
	return err
}

// read calls alive with every line.
func (w *watch) read(ctx context.Context, c *client, alive func()) error {
	resp, err := c.do(ctx, http.MethodGet, "/api/v1/monitor?"+w.query.Encode(), nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it was read as far as it is wanted
	w.isOpen(c)
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, largestEvent)
	event := ""
	for lines.Scan() {
		alive()
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "event":
			event = value
		case "data":
			if err := w.event(event, []byte(value)); err != nil {
				return err
			}
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return errors.New("the connection ended")
}

func (w *watch) isOpen(c *client) {
	if !w.lost.IsZero() {
		w.a.say("%s is there again after %v", c, time.Since(w.lost).Round(100*time.Millisecond))
	}
	w.opened, w.lost = true, time.Time{}
}

// event shows an event. Those of later versions are skipped.
func (w *watch) event(name string, data []byte) error {
	switch name {
	case "operation":
		return w.operation(data)
	case "summary":
		var s summarised
		if err := decode(data, &s); err != nil {
			return err
		}
		if !w.a.json && terminal(w.a.out) {
			fmt.Fprintln(w.a.out, s.line())
		}
	case "end":
		var e struct {
			Reason string `json:"reason"`
		}
		if err := decode(data, &e); err != nil {
			return err
		}
		return fmt.Errorf("the server is %s", printable(e.Reason))
	}
	return nil
}

func (w *watch) operation(data []byte) error {
	var m monitored
	if err := decode(data, &m); err != nil {
		return err
	}
	var err error
	if w.a.json {
		err = w.a.printRaw(data)
	} else {
		if m.Dropped > 0 {
			fmt.Fprintf(w.a.out, "… %s not shown\n", grouped(int64(m.Dropped)))
		}
		_, err = fmt.Fprintln(w.a.out, m.line())
	}
	if w.shown++; err == nil && w.shown == w.count {
		return errEnough
	}
	return err
}
