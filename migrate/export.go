package migrate

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/bytedance/sonic"
	"github.com/tidwall/gjson"
	"golang.org/x/sync/errgroup"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
)

// exportReads is how many entries are read at a time.
const exportReads = 16

// ExportOptions restricts an export.
type ExportOptions struct {
	// Org is the organisation. Empty: all.
	Org string
	// Kinds are names of kinds or maps. Empty: all but the way back from lead to
	// phone, which an import makes again. Kinds that stay in the process are
	// never exported.
	Kinds []string
	// IncludeDirectory adds the phones without an organisation. An import reads
	// them only with the option of the same name.
	IncludeDirectory bool
	// RetryFor is how long the export waits for a store that is away. Default
	// 30 s; negative: not at all.
	RetryFor time.Duration
	// OnProgress is called after each page, one call at a time. It must not
	// block.
	OnProgress func(ExportReport)
}

// ExportReport tells what was written.
type ExportReport struct {
	Entries  int `json:"entries"`
	Messages int `json:"messages"`
	// Vanished entries were listed and gone when they were read.
	Vanished int `json:"vanished"`
	// Incomplete conversations may lack messages that are not in the shared
	// store yet.
	Incomplete int `json:"incomplete"`
}

type exporter struct {
	a       *assistant.Assistant
	o       ExportOptions
	w       io.Writer
	patient *patience
	report  ExportReport
}

// Export writes what is stored as lines that Import reads, each entry once. The
// line of an entry depends on its content alone, so that exports of equal stores
// are equal after sorting. It stops at the first error; what was written until
// then is whole lines.
func Export(ctx context.Context, a *assistant.Assistant, w io.Writer, o ExportOptions) (ExportReport, error) {
	orDefault(&o.RetryFor, DefaultRetryFor)
	if o.OnProgress == nil {
		o.OnProgress = func(ExportReport) {}
	}
	ex := &exporter{a: a, o: o, w: w, patient: newPatience(o.RetryFor)}
	targets, err := ex.targets()
	if err != nil {
		return ex.report, err
	}
	for _, t := range targets {
		if err := ex.kind(ctx, t); err != nil {
			return ex.report, fmt.Errorf("export %s: %w", t.kind, err)
		}
	}
	return ex.report, nil
}

func (ex *exporter) targets() ([]target, error) {
	t, err := newTable(ex.a.Cache)
	if err != nil {
		return nil, err
	}
	var out []target
	for _, name := range ex.o.Kinds {
		k, ok := t[name]
		switch {
		case !ok:
			return nil, fmt.Errorf("%w: unknown kind %q: allowed are %s", jackcache.ErrInvalid, name, t.names())
		case k.local:
			return nil, fmt.Errorf("%w: kind %q stays in the process and is not exported", jackcache.ErrInvalid, name)
		}
		out = append(out, k)
	}
	if len(ex.o.Kinds) == 0 {
		for name, k := range t {
			if name == k.kind && !k.local && k.form != phoneForm {
				out = append(out, k)
			}
		}
	}
	slices.SortFunc(out, func(a, b target) int { return cmp.Compare(a.kind, b.kind) })
	return slices.CompactFunc(out, func(a, b target) bool { return a.kind == b.kind }), nil
}

func (ex *exporter) kind(ctx context.Context, t target) error {
	// A listing may name an entry twice while the store changes.
	seen := make(map[[16]byte]bool)
	q := jackcache.ListQuery{Kind: t.kind, Limit: jackcache.MaxList}
	for {
		page, err := ex.page(ctx, q)
		if err != nil {
			return err
		}
		page.Entries = slices.DeleteFunc(page.Entries, func(l jackcache.Listed) bool {
			sum := sha256.Sum256([]byte(l.Key))
			id := [16]byte(sum[:16])
			again := seen[id]
			seen[id] = true
			return again || l.Org == "" && !ex.o.IncludeDirectory
		})
		if err := ex.write(ctx, t, page.Entries); err != nil {
			return err
		}
		ex.o.OnProgress(ex.report)
		if q.Cursor = page.Cursor; q.Cursor == "" {
			return nil
		}
	}
}

func (ex *exporter) page(ctx context.Context, q jackcache.ListQuery) (page jackcache.Listing, err error) {
	err = ex.patient.do(ctx, func() error {
		if ex.o.Org != "" {
			page, err = ex.a.Cache.Org(ex.o.Org).List(ctx, q)
		} else {
			page, err = ex.a.Cache.List(ctx, q)
		}
		return err
	})
	return page, err
}

// written is an entry as it goes out.
type written struct {
	line       []byte // nil: it is gone
	messages   int
	incomplete bool
}

func (ex *exporter) write(ctx context.Context, t target, entries []jackcache.Listed) error {
	out := make([]written, len(entries))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(exportReads)
	for i, e := range entries {
		g.Go(func() error {
			return ex.patient.do(gctx, func() (err error) {
				out[i], err = ex.read(gctx, t, e)
				return err
			})
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, e := range out {
		if e.line == nil {
			ex.report.Vanished++
			continue
		}
		if _, err := ex.w.Write(e.line); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		ex.report.Entries++
		ex.report.Messages += e.messages
		if e.incomplete {
			ex.report.Incomplete++
		}
	}
	return nil
}

func (ex *exporter) read(ctx context.Context, t target, l jackcache.Listed) (written, error) {
	org := ex.a.Cache.Org(l.Org)
	if l.Org == "" {
		org = ex.a.Cache.Directory()
	}
	if t.form == messageForm {
		raw, err := org.Conversation(l.ID).Raw(ctx, jackcache.ReadOptions{})
		if err != nil || len(raw.Messages) == 0 {
			return written{}, err
		}
		w := written{messages: len(raw.Messages), incomplete: !raw.Complete}
		w.line, err = formatLine(t, l, jackcache.JoinMessages(nil, raw.Messages))
		return w, err
	}
	v, err := t.raw.Get(ctx, org, l.ID)
	if err != nil || !v.Found {
		return written{}, err
	}
	value, err := plainValue(t.form, v.JSON)
	if err != nil {
		return written{}, err
	}
	line, err := formatLine(t, l, value)
	return written{line: line}, err
}

// plainValue returns the string that maps hold where the cache holds an object
// with nothing but it.
func plainValue(f form, value []byte) ([]byte, error) {
	name := map[form]string{summaryForm: "text", leadForm: "leadId", phoneForm: "phone"}[f]
	if name == "" {
		return value, nil
	}
	v := gjson.ParseBytes(value)
	if s := v.Get(name); lone(v) && s.Type == gjson.String {
		return sonic.Marshal(s.Str)
	}
	return value, nil
}

// formatLine writes value as it is stored, but for line breaks between tokens.
func formatLine(t target, l jackcache.Listed, value []byte) ([]byte, error) {
	key, explicit := l.ID, false
	switch {
	case l.Org == "":
	case t.id == jackcache.NoID:
		key, explicit = l.Org, known(l.Org) != l.Org
	default:
		key = l.Org + ":" + l.ID
		org, id, err := line{Key: key}.split(t)
		explicit = err != nil || org != l.Org || id != l.ID || strings.Contains(l.Org, ":")
	}
	b := make([]byte, 0, len(value)+len(key)+len(t.kind)+64)
	b = appendField(b, `{"map":`, exportedMap(t.kind))
	b = appendField(b, `,"key":`, key)
	if explicit {
		b = appendField(b, `,"org":`, l.Org)
		b = appendField(b, `,"id":`, l.ID)
	}
	b = append(b, `,"value":`...)
	if !bytes.ContainsAny(value, "\n\r") {
		return append(append(b, value...), "}\n"...), nil
	}
	flat := bytes.NewBuffer(b)
	if err := json.Compact(flat, value); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", jackcache.ErrCorrupt, l.Key, err)
	}
	flat.WriteString("}\n")
	return flat.Bytes(), nil
}

func appendField(b []byte, name, value string) []byte {
	text, _ := sonic.Marshal(value) // a string always has a JSON form
	return append(append(b, name...), text...)
}
