package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/jackcache/jackcache/migrate"
)

type importing struct {
	file              string
	dryRun, directory bool
}

func (a *app) importCommand() *cobra.Command {
	var i importing
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Import entries of another system or an export",
		Long: `Imports NDJSON, plain or gzip: one entry of a map per line, as 'jackcache export'
writes it. FILE - is the standard input.

  {"map":"conversationContexts","key":"org-123:+16049085474","value":[{"role":"user","content":"hi"}]}

An import can be repeated: what is stored already is left as it is. Entries without
an organisation are set aside and reported. What was written live since, or was
forgotten, stays as it is.

Exit code 1 if entries failed, or the input could not be read to its end.`,
		Example: `  jackcache import conversations.ndjson.gz
  jackcache import --dry-run conversations.ndjson
  zcat old/*.ndjson.gz | jackcache import -`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			i.file = args[0]
			return a.importFile(cmd.Context(), i)
		},
	}
	cmd.Flags().BoolVar(&i.dryRun, "dry-run", false, "read and report, write nothing")
	cmd.Flags().BoolVar(&i.directory, "with-directory", false, "import lead mappings without an organisation into the directory")
	return cmd
}

func (a *app) importFile(ctx context.Context, i importing) error {
	in, size := a.in, int64(-1)
	if i.file != "-" {
		f, err := os.Open(i.file)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }() // opened for reading
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if info.IsDir() {
			return usage(i.file + " is a directory")
		}
		if info.Mode().IsRegular() {
			size = info.Size()
		}
		in = f
	}
	n := anyStore
	if i.dryRun {
		n = existing
	}
	return a.with(ctx, n, func(ctx context.Context, c *client) error {
		return a.sendImport(ctx, c, i, a.progress(in, size, "importing"))
	})
}

// importReport is the report in the form of --json.
type importReport struct {
	migrate.Report
	Changed bool    `json:"changed"`
	DryRun  bool    `json:"dryRun"`
	Seconds float64 `json:"seconds"`
}

func (a *app) sendImport(ctx context.Context, c *client, i importing, in *progress) error {
	defer in.end()
	q := url.Values{}
	if i.dryRun {
		q.Set("dryRun", "true")
	}
	if i.directory {
		q.Set("directory", "true")
	}
	start := time.Now()
	body := apart(in)
	c.upload.Store(body)
	resp, err := c.do(ctx, http.MethodPost, "/api/v1/import?"+q.Encode(), body)
	var r importReport
	var api *apiError
	switch {
	case errors.As(err, &api) && api.Report != nil:
		if err := decode(api.Report, &r.Report); err != nil {
			return err
		}
	case refused(err):
		return err
	case err != nil:
		return fmt.Errorf("%w; what was imported until then is kept, and the import can be repeated", err)
	default:
		defer func() { _ = resp.Body.Close() }() // it is read to its end
		data, err := io.ReadAll(io.LimitReader(resp.Body, largestAnswer))
		if err != nil {
			return notReached(c.String(), err)
		}
		if err := decode(data, &r.Report); err != nil {
			return err
		}
	}
	in.end()
	r.Changed, r.DryRun, r.Seconds = r.Report.Changed() && !i.dryRun, i.dryRun, time.Since(start).Seconds()
	return errors.Join(a.showImport(r), err, failedEntries(r))
}

// apart reads r in another goroutine, so that whoever reads can stop while r
// blocks: the standard input may be silent when the server goes away.
func apart(r io.Reader) *io.PipeReader {
	out, in := io.Pipe()
	go func() {
		_, err := io.CopyBuffer(in, struct{ io.Reader }{r}, make([]byte, 256<<10))
		_ = in.CloseWithError(err) // it never fails
	}()
	return out
}

func failedEntries(r importReport) error {
	if r.Failed > 0 {
		return fmt.Errorf("%s of %s entries failed", grouped(int64(r.Failed)), grouped(int64(r.Seen)))
	}
	return nil
}

func (a *app) showImport(r importReport) error {
	if a.json {
		return a.printJSON(r)
	}
	imported := "imported"
	if r.DryRun {
		imported = "to import"
	}
	a.rows([]string{"seen", imported, "unchanged", "set aside", "failed", "messages"},
		[][]any{{r.Seen, r.Imported, r.Unchanged, r.SetAside, r.Failed, r.Messages}})
	if len(r.Problems) > 0 {
		rows := make([][]any, len(r.Problems))
		for i, p := range r.Problems {
			fate := "failed"
			if p.Fate != fate {
				fate = "set aside"
			}
			rows[i] = []any{p.Line, fate, p.Map, p.Key, p.Reason}
		}
		fmt.Fprintln(a.out)
		a.rows([]string{"line", "", "map", "key", "reason"}, rows)
		if more := r.SetAside + r.Failed - len(r.Problems); more > 0 {
			fmt.Fprintf(a.out, "and %s more\n", grouped(int64(more)))
		}
	}
	switch {
	case r.DryRun:
		fmt.Fprintln(a.out, "\nnothing was written (--dry-run)")
	case !r.Changed && r.Failed == 0:
		fmt.Fprintln(a.out, "\nnothing changed")
	}
	a.say("took %.1f s", r.Seconds)
	return nil
}

// progress shows on a terminal how much was read.
type progress struct {
	r   io.Reader
	mu  sync.Mutex
	bar *progressbar.ProgressBar // guarded by mu; nil: none, or not any more
}

func (a *app) progress(r io.Reader, size int64, what string) *progress {
	p := &progress{r: r}
	if terminal(a.err) && !a.json {
		p.bar = progressbar.NewOptions64(size,
			progressbar.OptionSetWriter(a.err), progressbar.OptionSetDescription(what),
			progressbar.OptionShowBytes(true), progressbar.OptionUseIECUnits(true),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionSetWidth(30),
			progressbar.OptionClearOnFinish(), progressbar.OptionSetRenderBlankState(true), progressbar.OptionUseANSICodes(true))
	}
	return p
}

func (p *progress) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Add(n) // it is for the eye only
	}
	return n, err
}

// end removes the bar.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Finish() // it is for the eye only
		p.bar = nil
	}
}
