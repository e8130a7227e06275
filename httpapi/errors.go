package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"

	"github.com/jackcache/jackcache"
)

// Errors that this package decides. All others are those of package jackcache.
var (
	errRoute     = errors.New("there is nothing at this path")
	errMethod    = errors.New("method not allowed")
	errToken     = errors.New("unauthorized")
	errOrigin    = errors.New("cross-origin request")
	errMediaType = errors.New("unsupported media type")
	errSlow      = errors.New("the body did not arrive in time")
	errBody      = errors.New("the body could not be read")
	errPanic     = errors.New("a handler panicked")
	errGone      = errors.New("the client is gone")
	errBusy      = jackcache.ErrBusy
	errHost      = errors.New("wrong host")
)

// verdict is how an error is told to a client.
type verdict struct {
	err    error
	status int
	name   string // the problem's type is /problems/<name>
	title  string
	detail string     // empty: the error's own text, which speaks of the client's input
	level  slog.Level // of the log line
}

// statusClientGone is the status that proxies log for a client that went away.
const statusClientGone = 499

// verdicts has the first that fits first.
var verdicts = []verdict{
	{err: errGone, status: statusClientGone, name: "client-gone", title: "Client closed request", detail: "the client went away before the answer", level: slog.LevelDebug},
	{err: jackcache.ErrUnknown, status: 503, name: "outcome-unknown", title: "Outcome unknown", detail: "the write may have happened or may happen yet; repeating it with the same ids is safe", level: slog.LevelWarn},
	{err: jackcache.ErrUnseen, status: 503, name: "unseen", title: "Not seen by all instances", detail: "it is done; other instances may give what was there before for up to JACKCACHE_FRESHNESS; repeating it is safe", level: slog.LevelWarn},
	{err: jackcache.ErrClosed, status: 503, name: "closed", title: "Shutting down", detail: "this server is shutting down", level: slog.LevelDebug},
	{err: jackcache.ErrFull, status: 507, name: "full", title: "Store is full", detail: "the store has no room; nothing was stored", level: slog.LevelWarn},
	{err: jackcache.ErrRejected, status: 502, name: "rejected", title: "Rejected by the store", detail: "the store refused the operation and would again; see this server's log", level: slog.LevelError},
	{err: jackcache.ErrCorrupt, status: 500, name: "corrupt", title: "Stored data cannot be read", detail: "what is stored cannot be read by this version; see this server's log", level: slog.LevelError},
	{err: jackcache.ErrWrongStore, status: 503, name: "wrong-store", title: "Wrong store", detail: "the store is not the one that this server belongs to; nothing was stored", level: slog.LevelError},
	{err: jackcache.ErrJournalFull, status: 503, name: "journal-full", title: "Journal is full", detail: "the store is away and as much waits for it as may; nothing was stored", level: slog.LevelWarn},
	{err: jackcache.ErrJournal, status: 503, name: "journal", title: "Journal cannot be written", detail: "the write cannot be kept safe now; nothing was stored", level: slog.LevelWarn},
	{err: jackcache.ErrUnavailable, status: 503, name: "unavailable", title: "Store unavailable", detail: "the store cannot be reached now; nothing was stored", level: slog.LevelDebug},
	{err: jackcache.ErrNotFound, status: 404, name: "not-found", title: "Not found", detail: "nothing is stored here", level: slog.LevelDebug},
	{err: jackcache.ErrConflict, status: 409, name: "conflict", title: "Conflict", level: slog.LevelDebug},
	{err: jackcache.ErrPrecondition, status: 412, name: "precondition-failed", title: "Precondition failed", detail: "what is stored is not what If-Match or If-None-Match asked for; nothing was changed", level: slog.LevelDebug},
	{err: jackcache.ErrTooLarge, status: 413, name: "too-large", title: "Too large", level: slog.LevelDebug},
	{err: jackcache.ErrDisabled, status: 403, name: "disabled", title: "Disabled", level: slog.LevelDebug},
	{err: jackcache.ErrInvalid, status: 400, name: "invalid", title: "Invalid input", level: slog.LevelDebug},
	{err: errRoute, status: 404, name: "no-route", title: "No such route", level: slog.LevelDebug},
	{err: errMethod, status: 405, name: "method-not-allowed", title: "Method not allowed", level: slog.LevelDebug},
	{err: errToken, status: 401, name: "unauthorized", title: "Unauthorized", level: slog.LevelDebug},
	{err: errOrigin, status: 403, name: "cross-origin", title: "Cross-origin request", level: slog.LevelWarn},
	{err: errHost, status: 403, name: "wrong-host", title: "Wrong host", level: slog.LevelWarn},
	{err: errBusy, status: 503, name: "busy", title: "Busy", level: slog.LevelDebug},
	{err: errMediaType, status: 415, name: "media-type", title: "Unsupported media type", level: slog.LevelDebug},
	{err: errSlow, status: 408, name: "slow-body", title: "Request timeout", detail: "the body did not arrive in time", level: slog.LevelDebug},
	{err: errBody, status: 400, name: "body", title: "Body not readable", detail: "the body could not be read to its end", level: slog.LevelDebug},
	{err: errPanic, status: 500, name: "internal", title: "Internal error", detail: "see this server's log", level: slog.LevelError},
}

var internalError = verdict{
	err: errors.New("internal"), status: 500, name: "internal", title: "Internal error", detail: "see this server's log", level: slog.LevelError,
}

func judge(err error) verdict {
	for _, v := range verdicts {
		if errors.Is(err, v.err) {
			return v
		}
	}
	return internalError
}

// problem is the body of an error, RFC 9457.
type problem struct {
	Type     string `json:"type"`
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Detail   string `json:"detail"`
	Instance string `json:"instance"`
	Report   any    `json:"report,omitempty"` // of an import that ended early
}

// reportedError is an error of a job that did a part of its work.
type reportedError struct {
	error
	report any
}

func (e reportedError) Unwrap() error { return e.error }

// fail answers with an error, unless the answer has begun.
func (x *exchange) fail(err error) {
	if x.status != 0 {
		x.debug("failed after the answer had begun", err)
		panic(http.ErrAbortHandler)
	}
	err = x.ownCause(err)
	v := judge(err)
	if v.status >= http.StatusInternalServerError {
		x.tellFailure(v, err)
	}
	p := problem{Type: "/problems/" + v.name, Title: v.title, Status: v.status, Detail: v.detail, Instance: x.id}
	if p.Detail == "" {
		p.Detail = detail(err, v.err)
	}
	var reported reportedError
	if errors.As(err, &reported) {
		p.Report = reported.report
	}
	body, merr := json.Marshal(p)
	if merr != nil {
		p.Report = nil
		body, _ = json.Marshal(p) // strings and a number always have a JSON form
	}
	if v.status == http.StatusServiceUnavailable {
		x.Header()["Retry-After"] = []string{"1"}
	}
	_ = x.send(v.status, asProblem, append(body, '\n')) // it reports nothing but what it logged
}

// ownCause tells a request that ended by itself from a failure of the store. A
// write whose request ended while it was under way may have happened.
func (x *exchange) ownCause(err error) error {
	cause := x.r.Context().Err()
	if cause == nil || !errors.Is(err, cause) {
		return err
	}
	switch {
	case errors.Is(cause, context.Canceled):
		return errGone
	case x.r.Method == http.MethodGet || x.r.Method == http.MethodHead:
		return fmt.Errorf("%w: %w", jackcache.ErrUnavailable, err)
	}
	return fmt.Errorf("%w: %w", jackcache.ErrUnknown, err)
}

// maxDetail bounds what of a client's input is told back to it.
const maxDetail = 512

// detail is the text of an error without the name of its class.
func detail(err, class error) string {
	s := strings.ReplaceAll(err.Error(), class.Error()+": ", "")
	s = strings.TrimSuffix(s, ": "+class.Error())
	if len(s) <= maxDetail {
		return s
	}
	return strings.ToValidUTF8(s[:maxDetail], "") + "…"
}

// bodyError classifies what went wrong while a body was read.
func bodyError(err error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return errBodyTooLarge(tooLarge.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errSlow
	}
	return fmt.Errorf("%w: %w", errBody, err)
}
