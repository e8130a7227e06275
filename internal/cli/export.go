package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/spf13/cobra"

	"github.com/jackcache/jackcache/migrate"
)

type exporting struct {
	file, org string
	kinds     []string
	directory bool
}

func (a *app) exportCommand() *cobra.Command {
	var e exporting
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Export what is stored",
		Long: `Writes what is stored as NDJSON that 'jackcache import' reads, one entry per line.
The line of an entry depends on its content alone: exports of equal stores are
equal after sorting. A file appears under its name only when it is complete; one
that ends in .gz is compressed.

Lives, versions, and what was deleted are not part of it.`,
		Example: `  jackcache export -o backup.ndjson.gz
  jackcache export --org org-123 | wc -l
  jackcache export --kind conversationContext --kind phoneToLead > leads.ndjson`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("org") && e.org == "" {
				return usage("--org is empty; leave it out to export all organisations")
			}
			return a.with(cmd.Context(), existing, func(ctx context.Context, c *client) error {
				return a.export(ctx, c, e)
			})
		},
	}
	cmd.Flags().StringVarP(&e.file, "output", "o", "-", "file to write; - is the standard output")
	cmd.Flags().StringVar(&e.org, "org", "", "only this organisation")
	cmd.Flags().StringArrayVar(&e.kinds, "kind", nil, "only this kind; may be repeated")
	cmd.Flags().BoolVar(&e.directory, "with-directory", false, "with the phones of the directory without an organisation")
	completeKinds(cmd)
	return cmd
}

func (a *app) export(ctx context.Context, c *client, e exporting) error {
	q := url.Values{"kind": e.kinds}
	if e.org != "" {
		q.Set("org", e.org)
	}
	if e.directory {
		q.Set("directory", "true")
	}
	resp, err := c.do(ctx, http.MethodGet, "/api/v1/export?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it is read to its end, or given up
	if e.file == "-" {
		if _, err := io.Copy(a.out, resp.Body); err != nil {
			return cut(c, err)
		}
		return a.showExport(resp, e)
	}
	body := a.progress(resp.Body, -1, "exporting")
	err = writeFile(e.file, body)
	body.end()
	if err != nil {
		return cut(c, err)
	}
	return a.showExport(resp, e)
}

func cut(c *client, err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s stopped before the end; its log says why", c)
	}
	return err
}

// writeFile puts what r has under a name once all of it is on the disk.
func writeFile(name string, r io.Reader) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	w := io.WriteCloser(f)
	if strings.HasSuffix(name, ".gz") {
		w = gzip.NewWriter(f)
	}
	if _, err := io.Copy(w, r); err != nil {
		return err
	}
	if w != f {
		if err := w.Close(); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	return f.Close()
}

// showExport prints the report that stands behind the lines.
func (a *app) showExport(resp *http.Response, e exporting) error {
	var r migrate.ExportReport
	if err := decode([]byte(resp.Trailer.Get("Jackcache-Report")), &r); err != nil {
		return err
	}
	if a.json && e.file != "-" {
		return a.printJSON(r)
	}
	if a.json {
		return json.NewEncoder(a.err).Encode(r)
	}
	a.say("exported %s entries, %s messages", grouped(int64(r.Entries)), grouped(int64(r.Messages)))
	if r.Vanished > 0 {
		a.say("%s entries ended while they were exported", grouped(int64(r.Vanished)))
	}
	if r.Incomplete > 0 {
		a.say("%s conversations may lack messages that have not reached the store yet", grouped(int64(r.Incomplete)))
	}
	return nil
}
