// Package check finds out whether a deployment keeps what the cache promises. It
// works in temporary organisations of the store that the settings name, goes
// through the categories of the test suite that this product's model had, and
// removes what it wrote.
package check

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
)

// Defaults of Options.
const (
	DefaultPatience = 30 * time.Second
	DefaultOutage   = 2 * time.Second
	DefaultGetMean  = 25 * time.Millisecond
	DefaultSetMean  = 30 * time.Millisecond
)

// Options say what is checked. Zero fields mean the default in their comment.
type Options struct {
	// Cache is the deployment as the settings describe it. DataDir is looked at and
	// not used; it says in which file system journal and embedded store are checked.
	Cache jackcache.Options
	TTLs  assistant.TTLs
	// Only are the ids of the categories to go through; empty: all. The
	// connection is always among them.
	Only []string
	// Victim makes the process that is killed while it writes to the embedded
	// store, or to the journal with Redis away: it must run Victim with its standard
	// input and output. Without it the failover fails.
	Victim func() *exec.Cmd
	// Patience is how long a store that is away, or comes back, is waited for.
	// Default 30 s.
	Patience time.Duration
	// Outage is how long connections are cut, and then stalled. Default 2 s.
	Outage time.Duration
	// GetMean and SetMean are what a read and a write may take on average. Default
	// 25 ms and 30 ms, the targets of the original.
	GetMean, SetMean time.Duration
	// OnStep is called before each step, one call at a time. The step waits for
	// it.
	OnStep func(Step)
}

// Step is what is about to be done.
type Step struct {
	// Number and Of count the categories.
	Number, Of int
	// Category is its id, Name what people call it.
	Category, Name string
	// Text says what is about to be done; empty: the category begins.
	Text string
	// Orgs are the temporary organisations of the category until now.
	Orgs []string
}

func (o Options) withDefaults() Options {
	if o.Patience == 0 {
		o.Patience = DefaultPatience
	}
	if o.Outage == 0 {
		o.Outage = DefaultOutage
	}
	if o.GetMean == 0 {
		o.GetMean = DefaultGetMean
	}
	if o.SetMean == 0 {
		o.SetMean = DefaultSetMean
	}
	if o.OnStep == nil {
		o.OnStep = func(Step) {}
	}
	return o
}

// category is one of those of the original's test suite, or that of the settings.
type category struct {
	id, name string
	run      func(*session, context.Context) (detail string, err error)
}

// Connection is the id of the category without which the others cannot be.
const Connection = "connection"

var categories = []category{
	{Connection, "Connection", (*session).connection},
	{"basicOperations", "Basic operations", (*session).basicOperations},
	{"conversationCaching", "Conversation caching", (*session).conversationCaching},
	{"leadMapping", "Lead mapping", (*session).leadMapping},
	{"organizationData", "Organisation data", (*session).organisationData},
	{"multiTenantIsolation", "Multi-tenant isolation", (*session).isolation},
	{"performance", "Performance", (*session).performance},
	{"failover", "Failover", (*session).failover},
	{"invalidation", "Invalidation", (*session).invalidation},
	{"memoryMigration", "Memory migration", (*session).migration},
	{"settings", "Settings", (*session).settings},
}

// IDs returns the ids of the categories, in their order.
func IDs() []string {
	ids := make([]string, len(categories))
	for i, c := range categories {
		ids[i] = c.id
	}
	return ids
}

// Run checks a deployment. The report is complete as far as it came, also with
// an error, which is about ctx or this host, not about the deployment. What the
// run wrote is removed, also when ctx ends.
func Run(ctx context.Context, o Options) (Report, error) {
	o = o.withDefaults()
	for _, id := range o.Only {
		if !slices.Contains(IDs(), id) {
			return Report{}, fmt.Errorf("%w: category %q: allowed are %s", jackcache.ErrInvalid, id, strings.Join(IDs(), ", "))
		}
	}
	s, err := newSession(o)
	if err != nil {
		return Report{}, err
	}
	defer func() { _ = os.RemoveAll(s.dir) }() // again below, where it is reported
	s.report.Target = s.target()
	failed := false
	for i, c := range categories {
		r := s.category(ctx, i+1, c)
		failed = failed || r.Verdict == Fail
		s.report.Categories = append(s.report.Categories, r)
	}
	s.report.Advice = s.advice()
	s.cleanUp(ctx)
	s.report.OK = !failed && s.report.Cleanup.Problem == "" && ctx.Err() == nil
	if err := ctx.Err(); err != nil {
		return s.report, fmt.Errorf("the check was stopped: %w", err)
	}
	return s.report, nil
}

func (s *session) category(ctx context.Context, number int, c category) Result {
	r := Result{Number: number, ID: c.id, Name: c.name, Verdict: NotRun}
	switch {
	case len(s.o.Only) > 0 && c.id != Connection && !slices.Contains(s.o.Only, c.id):
		r.Detail = "not asked for"
		return r
	case ctx.Err() != nil:
		r.Detail = "stopped"
		return r
	case c.id != Connection && s.b == nil:
		r.Detail = "needs the connection"
		return r
	}
	s.now = Step{Number: number, Of: len(categories), Category: c.id, Name: c.name}
	start := time.Now()
	s.o.OnStep(s.now)
	detail, err := c.run(s, ctx)
	r.Milliseconds = milliseconds(time.Since(start))
	switch {
	case err == nil:
		r.Verdict, r.Detail = Pass, detail
	case ctx.Err() != nil:
		r.Detail = "stopped"
	default:
		r.Verdict, r.Detail, r.ToDo = Fail, text(err), s.hint(err)
	}
	return r
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}

// step tells what is about to be done.
func (s *session) step(text string) {
	s.now.Text = text
	s.o.OnStep(s.now)
}

// fault is something that does not hold, and what to do about it.
type fault struct{ text, toDo string }

func (f *fault) Error() string { return f.text }

// wrong is a fault that no error of a call tells.
func wrong(toDo, format string, args ...any) error {
	return &fault{text: fmt.Sprintf(format, args...), toDo: toDo}
}

// doing says during what a call failed.
func doing(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

var (
	// noise is what errors have that says nothing to people.
	noise = strings.NewReplacer("jackcache: ", "", "store rejected the operation: ", "", "\n", "; ")
	// inScript is where Redis says in which of its scripts it was.
	inScript = regexp.MustCompile(`\.? script: [0-9a-f]{40}, on @user_script:\d+\.?`)
)

// text is an error for people, without what its parts say twice.
func text(err error) string {
	parts := strings.Split(inScript.ReplaceAllString(noise.Replace(err.Error()), ""), ": ")
	out := parts[:0]
	for i, p := range parts {
		if i+1 == len(parts) || parts[i+1] != p && !strings.HasPrefix(parts[i+1], p+" ") {
			out = append(out, p)
		}
	}
	return strings.Join(out, ": ")
}

// typed reports whether err is one that callers are told to expect while a store
// is away.
func typed(err error) bool {
	return errors.Is(err, jackcache.ErrUnavailable) || errors.Is(err, jackcache.ErrUnknown) || errors.Is(err, jackcache.ErrJournal)
}
