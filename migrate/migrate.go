// Package migrate moves state between a cache and NDJSON files: one entry of an
// in-process map per line, as a few lines of JavaScript or any other language
// can write them, or as Export writes them.
//
//	{"map":"conversationContexts","key":"org-123:+16049085474","value":[{"role":"user","content":"hi"}]}
//	{"map":"conversationSummaries","key":"org-123:16049085474","value":"wants a red one"}
//	{"map":"phoneToLeadMapping","key":"org-123:+16049085474","value":"lead-7"}
//	{"map":"organizationCache","key":"org-123","value":{"name":"Dealer"}}
//
// An import can be repeated: the second one changes nothing. What was written
// live is never replaced by an import, and who was forgotten stays forgotten.
package migrate

import (
	"log/slog"
	"slices"
	"time"
)

// Defaults of ImportOptions and ExportOptions.
const (
	DefaultConcurrency = 16
	DefaultMaxLine     = 16 << 20
	DefaultMaxProblems = 100
	DefaultRetryFor    = 30 * time.Second
)

// ImportOptions says how an import runs. Every zero field means its default.
type ImportOptions struct {
	// Concurrency is how many entries are written at a time. Entries of one key
	// are written in the order of the input, whatever it is. Default 16.
	Concurrency int
	// DryRun writes nothing. Entries that are not stored yet are counted as
	// Imported, also those which the store would set aside.
	DryRun bool
	// IncludeDirectory reads lead mappings of phones without an organisation
	// into the directory. Without it they are set aside.
	IncludeDirectory bool
	// MaxLine bounds a line in bytes; a longer one fails. Default 16 MiB, at
	// most the 64 MiB that all imports of a process hold together.
	MaxLine int
	// MaxProblems bounds Report.Problems; the first ones of the input are kept.
	// Default 100.
	MaxProblems int
	// RetryFor is how long entries wait for a store that is away, from the last
	// time it answered. Then they fail. Default 30 s; negative: not at all.
	RetryFor time.Duration
	// Logger gets the stack where an entry made the import panic; the entry
	// fails, and the import goes on. Default slog.Default().
	Logger *slog.Logger
	// OnProgress is called about ten times a second and at the end, one call at
	// a time. It must not block.
	OnProgress func(Progress)
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func (o ImportOptions) withDefaults() ImportOptions {
	orDefault(&o.Concurrency, DefaultConcurrency)
	orDefault(&o.MaxLine, DefaultMaxLine)
	orDefault(&o.MaxProblems, DefaultMaxProblems)
	orDefault(&o.RetryFor, DefaultRetryFor)
	o.Concurrency = max(o.Concurrency, 1)
	o.MaxLine = min(o.MaxLine, inFlightBytes)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.OnProgress == nil {
		o.OnProgress = func(Progress) {}
	}
	return o
}

// Counts tells what became of the entries of an import:
// Seen = Imported + Unchanged + SetAside + Failed, always.
type Counts struct {
	// Seen are the lines that are not blank.
	Seen int `json:"seen"`
	// Imported entries changed what is stored.
	Imported int `json:"imported"`
	// Unchanged entries were stored before.
	Unchanged int `json:"unchanged"`
	// SetAside entries are readable but have no place: no organisation, or
	// cleared, deleted, forgotten or replaced since they were written.
	SetAside int `json:"setAside"`
	// Failed entries could not be read or stored.
	Failed int `json:"failed"`
	// Messages are those of the conversations among Imported and Unchanged.
	Messages int `json:"messages"`
}

// Progress tells how far an import is.
type Progress struct {
	Counts
	// Bytes of the input, as it is (compressed or not), that were read.
	Bytes int64
}

// Report is what an import did.
type Report struct {
	Counts
	// Problems are the entries that were set aside or failed, by line; at most
	// ImportOptions.MaxProblems.
	Problems []Problem `json:"problems"`
}

// Changed reports whether the import changed anything.
func (r Report) Changed() bool { return r.Imported > 0 }

// Problem is an entry that was not imported.
type Problem struct {
	// Line counts from 1, blank lines included.
	Line int `json:"line"`
	// Map and Key are those of the line, where they could be read. All but the
	// last four digits of a phone in Key are masked.
	Map string `json:"map,omitempty"`
	Key string `json:"key,omitempty"`
	// Fate is "setAside" or "failed".
	Fate string `json:"fate"`
	// Reason says in words why.
	Reason string `json:"reason"`
}

// add keeps the problems of the first lines, whatever order they come in.
func (r *Report) add(p Problem, most int) {
	at, _ := slices.BinarySearchFunc(r.Problems, p, func(a, b Problem) int { return a.Line - b.Line })
	if at >= most {
		return
	}
	r.Problems = slices.Insert(r.Problems, at, p)
	r.Problems = r.Problems[:min(len(r.Problems), most)]
}
