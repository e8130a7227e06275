package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/jackcache/jackcache"
)

const (
	// summaryEvery is how often a monitor sums up, or says that it is there.
	summaryEvery = 5 * time.Second
	// monitorPatience is how long a client of a monitor may take to read on. One
	// that takes longer is cut.
	monitorPatience = 10 * time.Second
	// monitorPage is how many operations are sent at a time.
	monitorPage = 128
)

var asEvents = []string{"text/event-stream; charset=utf-8"}

// monitored is an operation as a monitor tells it.
type monitored struct {
	Time       time.Time `json:"time" jsonschema:"When it began."`
	Operation  string    `json:"operation"`
	Kind       string    `json:"kind,omitempty" jsonschema:"Left out where there are several, or none."`
	Org        string    `json:"org,omitempty" jsonschema:"The organisation; left out for the directory and for all of them."`
	ID         string    `json:"id,omitempty" jsonschema:"Masked: the last two digits of a phone, the first two characters of any other id."`
	Source     string    `json:"source" jsonschema:"near, shared or loader."`
	Outcome    string    `json:"outcome"`
	Failed     bool      `json:"failed"`
	TookMs     float64   `json:"tookMs"`
	Bytes      int       `json:"bytes" jsonschema:"Of what was read or was to be written."`
	Count      int       `json:"count,omitempty" jsonschema:"Keys, messages or entries, where there may be several."`
	SampledOut uint64    `json:"sampledOut,omitempty" jsonschema:"Operations before this one that were left out because of ?sample=."`
	Dropped    uint64    `json:"dropped,omitempty" jsonschema:"Operations before this one that were left out because the client reads too slowly."`
}

// summarised sums up what the filter of a monitor let through.
type summarised struct {
	Seconds    float64 `json:"seconds" jsonschema:"The time that is summed up."`
	Operations uint64  `json:"operations"`
	Errors     uint64  `json:"errors"`
	P50Ms      float64 `json:"p50Ms"`
	P99Ms      float64 `json:"p99Ms"`
	MaxMs      float64 `json:"maxMs"`
	SampledOut uint64  `json:"sampledOut"`
	Dropped    uint64  `json:"dropped"`
}

// ended is the last event of a monitor that the server ends.
type ended struct {
	Reason string `json:"reason"`
}

// monitor streams operations as they end, until the client leaves or the server
// stops.
func (s *Server) monitor(x *exchange) error {
	o, err := monitorOptions(x.query)
	if err != nil {
		return err
	}
	m, err := s.a.Cache.Monitor(o)
	if err != nil {
		return err
	}
	defer m.Close()
	ctx, cancel := context.WithCancel(x.r.Context())
	defer cancel()
	defer context.AfterFunc(s.drained, cancel)()
	st := newEventStream(x)
	if x.r.Method == http.MethodHead {
		return nil
	}
	if err := st.heartbeat(); err != nil {
		return err
	}
	for {
		if err := st.until(ctx, m); err != nil {
			return st.end(ctx, err)
		}
		if err := st.summary(m.Summary()); err != nil {
			return err
		}
	}
}

func monitorOptions(q url.Values) (o jackcache.MonitorOptions, err error) {
	o = jackcache.MonitorOptions{Org: q.Get("org"), Kind: q.Get("kind"), Operation: q.Get("op")}
	for _, name := range []string{"org", "kind", "op"} {
		if q.Has(name) && q.Get(name) == "" {
			return o, invalid("?%s= is empty; leave it out for all", name)
		}
	}
	switch v := q.Get("errors"); v {
	case "":
	case "only":
		o.ErrorsOnly = true
	default:
		return o, invalid("?errors=%.40s: allowed is only", v)
	}
	if v := q.Get("sample"); v != "" {
		if o.Sample, err = strconv.Atoi(v); err != nil || o.Sample < 1 {
			return o, invalid("?sample=%.40s: allowed are 1 to %d", v, jackcache.MaxSample)
		}
	}
	return o, nil
}

// eventStream writes Server-Sent Events.
type eventStream struct {
	w       *bufio.Writer
	control *http.ResponseController
	x       *exchange
	page    []jackcache.MonitorEvent
}

func newEventStream(x *exchange) *eventStream {
	control := http.NewResponseController(x.ResponseWriter)
	_ = control.SetReadDeadline(time.Time{}) // as in patientReader
	h := x.Header()
	h["Content-Type"] = asEvents
	h["X-Accel-Buffering"] = []string{"no"} // nginx would keep events back
	x.WriteHeader(http.StatusOK)
	return &eventStream{
		w: bufio.NewWriterSize(patientWriter{x, control, x.s.patience}, exportBuffer), control: control, x: x, page: make([]jackcache.MonitorEvent, monitorPage),
	}
}

// until sends operations until it is time for a summary.
func (st *eventStream) until(ctx context.Context, m *jackcache.Monitor) error {
	tick, cancel := context.WithTimeout(ctx, st.x.s.sumUp)
	defer cancel()
	for tick.Err() == nil {
		n, err := m.Read(tick, st.page)
		if err != nil && tick.Err() == nil {
			return err
		}
		for _, ev := range st.page[:n] {
			if err := st.event("operation", toMonitored(ev)); err != nil {
				return err
			}
		}
		if n > 0 {
			if err := st.flush(); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

func toMonitored(ev jackcache.MonitorEvent) monitored {
	return monitored{
		Time: ev.Time.UTC(), Operation: ev.Operation, Kind: ev.Kind, Org: ev.Org, ID: ev.ID,
		Source: ev.Source.String(), Outcome: ev.Outcome, Failed: ev.Failed, TookMs: millis(ev.Took),
		Bytes: ev.Bytes, Count: ev.Count, SampledOut: ev.SampledOut, Dropped: ev.Dropped,
	}
}

// summary sums up, or says that the server is there where nothing happened.
func (st *eventStream) summary(sum jackcache.MonitorSummary) error {
	if sum.Operations == 0 {
		return st.heartbeat()
	}
	err := st.event("summary", summarised{
		Seconds: sum.Over.Seconds(), Operations: sum.Operations, Errors: sum.Errors,
		P50Ms: millis(sum.P50), P99Ms: millis(sum.P99), MaxMs: millis(sum.Max),
		SampledOut: sum.SampledOut, Dropped: sum.Dropped,
	})
	if err != nil {
		return err
	}
	return st.flush()
}

// heartbeat is a comment, which clients skip.
func (st *eventStream) heartbeat() error {
	if _, err := st.w.WriteString(": here\n\n"); err != nil {
		return gone(err)
	}
	return st.flush()
}

func (st *eventStream) event(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(st.w, "event: %s\ndata: %s\n\n", name, data); err != nil {
		return gone(err)
	}
	return nil
}

func (st *eventStream) flush() error {
	if err := errors.Join(st.w.Flush(), st.control.Flush()); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return gone(err)
	}
	return nil
}

func gone(err error) error { return fmt.Errorf("%w: %w", errGone, err) }

// end says why the server ends the stream, unless the client did.
func (st *eventStream) end(ctx context.Context, err error) error {
	reason := "closed"
	switch {
	case errors.Is(err, errGone):
		return err
	case st.x.r.Context().Err() != nil:
		return nil
	case ctx.Err() != nil:
		reason = "draining"
	case !errors.Is(err, jackcache.ErrClosed):
		return err
	}
	if err := st.event("end", ended{reason}); err != nil {
		return err
	}
	return st.flush()
}
