package check

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/internal/datadir"
)

const (
	// patientBudget is what calls may take where it is not their time that is
	// checked.
	patientBudget = 5 * time.Second
	// window is how many messages the temporary conversations keep.
	window = 50
	// connectTime bounds the wait for a store at the start.
	connectTime = 5 * time.Second
	// closeTime bounds letting go of a store.
	closeTime = 10 * time.Second
)

// session is one run.
type session struct {
	o      Options
	report Report
	now    Step
	dir    string // for data directories of this run
	dirs   int
	// unwritable says why dir is not beside the data directory; nil: it is.
	unwritable error

	// a and b are two instances that give calls time; one and the same on the
	// embedded store. b is nil until the connection holds.
	a, b *assistant.Assistant
}

func newSession(o Options) (*session, error) {
	s := &session{o: o, report: Report{
		Token: "check-" + strings.ToLower(rand.Text()[:12]), Store: "embedded",
		Categories: []Result{}, Advice: []string{},
	}}
	if o.Cache.Redis != nil {
		s.report.Store = "redis"
	}
	// What is synced is synced to the disk on which the server has its data.
	var err error
	if s.dir, err = os.MkdirTemp(existing(s.dataDir()), "jackcache-check-"); err == nil {
		return s, nil
	}
	if s.unwritable = err; o.Cache.Redis != nil {
		s.dir, err = os.MkdirTemp("", "jackcache-check-") // the failover tells
	}
	if err != nil {
		return nil, fmt.Errorf("a temporary data directory beside the store cannot be made; run the check as the user who runs the server: %w", err)
	}
	return s, nil
}

// dataDir is the data directory of the settings.
func (s *session) dataDir() string {
	if s.o.Cache.DataDir == "" {
		return jackcache.DefaultDataDir
	}
	return s.o.Cache.DataDir
}

// existing returns dir, or the nearest directory above it that is there.
func existing(dir string) string {
	for {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			return dir
		}
		dir = up
	}
}

// target says in words what is checked.
func (s *session) target() string {
	r := s.o.Cache.Redis
	if r == nil {
		return fmt.Sprintf("a temporary embedded store in the file system of %s; the stores that are there were not touched", absolute(filepath.Dir(s.dir)))
	}
	mode, addrs := r.Mode, r.Addrs
	if mode == "" {
		mode = jackcache.Standalone
	}
	if len(addrs) == 0 {
		addrs = []string{jackcache.DefaultRedisAddr}
	}
	return fmt.Sprintf("redis (%s) %s, database %d, in temporary organisations %s-*; from this host, not through a server", mode, strings.Join(addrs, ", "), r.DB, s.report.Token)
}

// open opens an instance with a data directory of its own.
func (s *session) open(ctx context.Context, change func(*jackcache.Options)) (*assistant.Assistant, error) {
	s.dirs++
	o := s.o.Cache
	o.DataDir = filepath.Join(s.dir, fmt.Sprint(s.dirs))
	o.Conversation.Window = window
	o.Directory = false
	o.MeterProvider, o.TracerProvider = nil, nil
	// What connections do while they are cut is told by the result.
	o.Logger = slog.New(slog.DiscardHandler)
	// Whose the data directory is, is told by the category of the settings.
	o.Adopt = true
	if err := s.record(o.DataDir); err != nil {
		return nil, err
	}
	change(&o)
	// What one instance has written the other looks for at once.
	o.Near.MaxBytes = -1
	return assistant.Open(ctx, o, s.o.TTLs)
}

// record copies the record of the store to dir, so that a Redis without an id
// gets the one that the data directory has, not another.
func (s *session) record(dir string) error {
	if s.o.Cache.Redis == nil {
		return nil
	}
	_, invalid := datadir.Open(s.dataDir(), "")
	b, err := os.ReadFile(filepath.Join(s.dataDir(), datadir.FileName))
	if err != nil || invalid != nil {
		return nil // the category of the settings tells why
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, datadir.FileName), b, 0o600)
}

func patient(o *jackcache.Options) {
	o.Budget = max(o.Budget, patientBudget)
	o.Embedded.Budget = max(o.Embedded.Budget, patientBudget)
}

func closing(a *assistant.Assistant) error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	return a.Close(ctx)
}

// cleanUp lets go of the store and removes what the run wrote, also when ctx has
// ended.
func (s *session) cleanUp(ctx context.Context) {
	s.now.Text = "remove what was written"
	s.o.OnStep(s.now)
	var errs []error
	if s.b != nil && s.b != s.a {
		errs = append(errs, closing(s.b))
	}
	if s.o.Cache.Redis != nil && s.b != nil {
		s.cleanRedis(context.WithoutCancel(ctx))
	}
	if s.a != nil {
		errs = append(errs, closing(s.a))
	}
	if s.o.Cache.Redis != nil {
		errs = nil // of closing: a server hangs, and what counts is what is left
	}
	if err := errors.Join(append(errs, os.RemoveAll(s.dir))...); err != nil {
		s.report.Cleanup.Problem = fmt.Sprintf("%s may be left; remove it: %s", s.dir, text(err))
	}
}

func (s *session) cleanRedis(ctx context.Context) {
	removed, err := s.sweep(ctx)
	s.report.Cleanup.Removed = removed
	if err == nil {
		return
	}
	pattern := s.report.KeyPrefix + "*" + s.report.Token + "*"
	s.report.Cleanup.Problem = fmt.Sprintf("keys of this run may be left: %s. They are named %s, and all but counters of a few bytes expire by themselves; to remove them: redis-cli --scan --pattern '%s' | xargs -n 1 redis-cli del",
		text(err), pattern, pattern)
}

// org returns the id of a temporary organisation.
func (s *session) org(name string) string {
	id := s.report.Token + "-" + name
	if !slices.Contains(s.now.Orgs, id) {
		s.now.Orgs = append(s.now.Orgs, id)
	}
	return id
}

// both are an organisation as the two instances see it.
func (s *session) both(name string) (onA, onB jackcache.Org) {
	id := s.org(name)
	return s.a.Cache.Org(id), s.b.Cache.Org(id)
}

// phone is one of the numbers that belong to nobody.
func phone(i int) string { return fmt.Sprintf("+1604555%04d", 100+i) }

func message(id, content string) jackcache.Message {
	return jackcache.Message{ID: id, Role: "user", Content: content}
}

func ids(msgs []jackcache.Message) []string {
	out := make([]string, len(msgs))
	for i, m := range msgs {
		out[i] = m.ID
	}
	return out
}
