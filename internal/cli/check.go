package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	style "github.com/jedib0t/go-pretty/v6/text"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/jackcache/jackcache/internal/check"
)

func (a *app) checkCommand() *cobra.Command {
	var (
		only   []string
		victim bool
	)
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Find out whether this deployment keeps the promises",
		Long: `Opens the store that the settings describe and goes through eleven categories
of checks:

` + wrapped(strings.Join(check.IDs(), ", "), "  ") + `
It writes to temporary organisations (check-<random>-...) alone and removes them
afterwards, also after a failure or an interrupt. It can run beside servers: it has
a data directory of its own, and looks at theirs without changing it. The failover cuts and stalls the connections of one of
its own instances, nobody else's.

With the embedded store it checks a temporary one in the file system of
JACKCACHE_DATA_DIR, and kills a process that writes to it.

What should be changed although it works is told as advice. The health of the server
at JACKCACHE_ADDR is told where one listens; --server names one that must be there.

Exit code 0 only if all hold.`,
		Example: `  jackcache check
  REDIS_HOST=redis.internal jackcache check --json
  jackcache check --only performance,failover`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if victim {
				return check.Victim(cmd.Context(), a.in, a.out)
			}
			return a.check(cmd.Context(), only)
		},
	}
	cmd.Flags().StringSliceVar(&only, "only", nil, "categories to go through, comma-separated; the connection is always among them")
	cmd.Flags().BoolVar(&victim, "victim", false, "be the process that is killed")
	cmd.Flags().Lookup("victim").Hidden = true
	return cmd
}

// checkReport is the report in the form of --json.
type checkReport struct {
	check.Report
	Server  *serverHealth `json:"server,omitempty"`
	Version string        `json:"version"`
	Seconds float64       `json:"seconds"`
}

// serverHealth is what a server that runs beside the check says of itself.
type serverHealth struct {
	URL      string   `json:"url"`
	Status   string   `json:"status"`
	Problems []string `json:"problems,omitempty"`
}

func (a *app) check(ctx context.Context, only []string) error {
	s, err := a.settings(toServe)
	if err != nil {
		return err
	}
	for _, w := range s.warnings {
		a.say("warning: %s", w)
	}
	ctx, stop := untilSignal(ctx)
	defer stop()
	defer context.AfterFunc(ctx, stop)() // a second interrupt ends the clean-up, too
	cache, ttls := s.options(nil)
	bar := a.steps()
	start := time.Now()
	report, err := check.Run(ctx, check.Options{
		Cache: cache, TTLs: ttls, Only: only, Victim: a.victim, OnStep: bar.show,
	})
	bar.end()
	if report.Categories == nil {
		return err
	}
	r := checkReport{Report: report, Version: version(), Server: a.beside(ctx, s)}
	r.Seconds = time.Since(start).Seconds()
	if r.Server != nil && r.Server.Status != "healthy" && r.Server.Status != "degraded" {
		r.OK = false
	}
	if a.json {
		err = errors.Join(a.printJSON(r), err)
	} else {
		err = errors.Join(a.showCheck(r), err)
	}
	if err == nil && !r.OK {
		err = &silentError{exitFailed}
	}
	return err
}

// victim is this program as the process that is killed.
func (a *app) victim() *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	cmd := exec.Command(self, "check", "--victim")
	cmd.Stderr = a.err
	return cmd
}

// beside asks the server that was named, or the one at JACKCACHE_ADDR, how it is;
// nil where nothing listens there.
func (a *app) beside(ctx context.Context, s *settings) *serverHealth {
	addr := reachable(value[string](s, "JACKCACHE_ADDR"))
	base, err := "http://"+addr, error(nil)
	if a.server != "" {
		if base, err = serverURL(a.server); err != nil {
			return &serverHealth{URL: a.server, Status: "unknown", Problems: []string{plain(err)}}
		}
	} else {
		conn, err := (&net.Dialer{Timeout: dialTime}).DialContext(ctx, "tcp", addr)
		if errors.Is(err, syscall.ECONNREFUSED) || ctx.Err() != nil {
			return nil
		}
		if err == nil {
			_ = conn.Close() // it was to find out whether somebody listens
		}
	}
	c := newClient((&net.Dialer{Timeout: dialTime}).DialContext)
	c.base, c.token = base, value[string](s, "JACKCACHE_API_TOKEN")
	c.transport.Proxy = http.ProxyFromEnvironment
	defer c.transport.CloseIdleConnections()
	var h health
	data, err := c.health(ctx)
	if err == nil {
		err = decode(data, &h)
	}
	if err != nil {
		return &serverHealth{URL: base, Status: "unknown", Problems: []string{plain(err)}}
	}
	return &serverHealth{URL: base, Status: h.Status, Problems: h.Problems}
}

func (a *app) showCheck(r checkReport) error {
	fmt.Fprintf(a.out, "checked: %s\n\n", printable(r.Target))
	rows := make([][]any, 0, len(r.Categories))
	for _, c := range r.Categories {
		took := right("")
		if c.Verdict != check.NotRun {
			took = right(fmt.Sprintf("%.0f ms", c.Milliseconds))
		}
		rows = append(rows, []any{right(fmt.Sprint(c.Number)), c.Name, verdict(c.Verdict), took, folded(c.Detail)})
		if c.ToDo != "" {
			rows = append(rows, []any{right(""), "", cell(""), right(""), folded("→ " + c.ToDo)})
		}
	}
	a.rows([]string{"", "category", "result", "time", "detail"}, rows)
	a.showCleanup(r)
	if r.Server != nil {
		fmt.Fprintf(a.out, "\nthe server at %s: %s\n", printable(r.Server.URL), coloured(r.Server.Status))
		a.list(r.Server.Problems)
	}
	if len(r.Advice) > 0 {
		fmt.Fprintln(a.out, "\nAdvice")
		a.list(r.Advice)
	}
	word := style.FgGreen.Sprint("all hold")
	if !r.OK {
		word = style.FgRed.Sprint("not all hold")
	}
	_, err := fmt.Fprintf(a.out, "\n%s\n", word)
	a.say("took %.1f s", r.Seconds)
	return err
}

func (a *app) showCleanup(r checkReport) {
	switch {
	case r.Cleanup.Problem != "":
		fmt.Fprintf(a.out, "\n%s\n", folded(r.Cleanup.Problem))
	case r.Cleanup.Removed > 0:
		fmt.Fprintf(a.out, "\nremoved what was written: %s keys; nothing is left\n", grouped(int64(r.Cleanup.Removed)))
	}
}

// list prints lines with a mark each.
func (a *app) list(lines []string) {
	for _, l := range lines {
		fmt.Fprintf(a.out, "  - %s\n", strings.ReplaceAll(string(folded(l)), "\n", "\n    "))
	}
}

// cell is text for a table that is shown as it is.
type cell string

func verdict(v check.Verdict) cell {
	switch v {
	case check.Pass:
		return cell(style.FgGreen.Sprint(v))
	case check.Fail:
		return cell(style.FgRed.Sprint(v))
	}
	return cell(v)
}

// detailWidth is where details are folded.
const detailWidth = 84

func folded(s string) cell {
	lines := strings.Split(style.WrapSoft(printable(s), detailWidth), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, " ")
	}
	return cell(strings.Join(lines, "\n"))
}

// steps shows on a terminal what a check does.
type steps struct{ bar *progressbar.ProgressBar }

func (a *app) steps() *steps {
	p := &steps{}
	if terminal(a.err) && !a.json {
		p.bar = progressbar.NewOptions(len(check.IDs()),
			progressbar.OptionSetWriter(a.err), progressbar.OptionSetWidth(20), progressbar.OptionClearOnFinish(),
			progressbar.OptionSetPredictTime(false), progressbar.OptionSetElapsedTime(false), progressbar.OptionUseANSICodes(true))
	}
	return p
}

func (p *steps) show(s check.Step) {
	if p.bar == nil {
		return
	}
	what := s.Name
	if s.Text != "" {
		what += ": " + s.Text
	}
	p.bar.Describe(what)        // all of it is
	_ = p.bar.Set(s.Number - 1) // for the eye only
}

func (p *steps) end() {
	if p.bar != nil {
		_ = p.bar.Finish() // it is for the eye only
	}
}
