package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jackcache/jackcache"
)

// The routes of admin.
const (
	keysRoute    = "/api/v1/keys"    // ?kind=&org=&cursor=&limit=
	inspectRoute = "/api/v1/inspect" // ?key=
)

// admin adds what operators want to see of the store to the API: its keys as
// they are stored. Both routes only read.
type admin struct {
	api   http.Handler
	cache *jackcache.Cache
}

// ServeHTTP leaves everything but its own routes to the API.
func (s admin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	handle := map[string]func(url.Values, *http.Request) (any, error){
		keysRoute: s.keys, inspectRoute: s.inspect,
	}[r.URL.Path]
	if handle == nil || r.Method != http.MethodGet {
		s.api.ServeHTTP(w, r)
		return
	}
	if !s.allowed(w, r) {
		return
	}
	answer, err := handle(r.URL.Query(), r)
	if err != nil {
		fail(w, err)
		return
	}
	send(w, http.StatusOK, "application/json", answer)
}

// allowed asks the API whether the caller may see its statistics, and passes
// its refusal on.
func (s admin) allowed(w http.ResponseWriter, r *http.Request) bool {
	ask := r.Clone(r.Context())
	ask.URL, ask.RequestURI, ask.Body, ask.ContentLength = &url.URL{Path: "/api/cache/stats"}, "/api/cache/stats", http.NoBody, 0
	held := &heldAnswer{header: w.Header()}
	s.api.ServeHTTP(held, ask)
	if held.status == http.StatusOK {
		return true
	}
	w.WriteHeader(held.status)
	_, _ = w.Write(held.body.Bytes()) // the client is told nothing if it is gone
	return false
}

// heldAnswer is an answer that was not sent.
type heldAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (h *heldAnswer) Header() http.Header { return h.header }

func (h *heldAnswer) WriteHeader(status int) {
	if h.status == 0 {
		h.status = status
	}
}

func (h *heldAnswer) Write(b []byte) (int, error) {
	h.WriteHeader(http.StatusOK)
	return h.body.Write(b)
}

// storedKey is a key of the store.
type storedKey struct {
	Key       string            `json:"key"`
	Kind      string            `json:"kind"`
	Org       string            `json:"org,omitempty"`
	ID        string            `json:"id,omitempty"`
	Version   jackcache.Version `json:"version"`
	Messages  int               `json:"messages,omitempty"`
	Bytes     int               `json:"bytes"`
	ExpiresAt *time.Time        `json:"expiresAt,omitempty"`
	Value     json.RawMessage   `json:"value,omitempty"`
}

type keyPage struct {
	Keys   []storedKey `json:"keys"`
	Cursor string      `json:"cursor"`
}

func toStoredKey(kind string, l jackcache.Listed) storedKey {
	k := storedKey{
		Key: l.Key, Kind: kind, Org: l.Org, ID: l.ID, Version: l.Version, Messages: l.Messages, Bytes: l.Bytes,
	}
	if !l.ExpiresAt.IsZero() {
		at := l.ExpiresAt.UTC()
		k.ExpiresAt = &at
	}
	return k
}

func (s admin) keys(q url.Values, r *http.Request) (any, error) {
	query := jackcache.ListQuery{Kind: q.Get("kind"), Cursor: q.Get("cursor")}
	if v := q.Get("limit"); v != "" {
		var err error
		if query.Limit, err = strconv.Atoi(v); err != nil {
			return nil, fmt.Errorf("%w: ?limit=%.40s: want a number", jackcache.ErrInvalid, v)
		}
	}
	list := s.cache.List
	if q.Has("org") {
		list = s.cache.Org(q.Get("org")).List
	}
	page, err := list(r.Context(), query)
	if err != nil {
		return nil, err
	}
	out := keyPage{Keys: make([]storedKey, len(page.Entries)), Cursor: page.Cursor}
	for i, e := range page.Entries {
		out.Keys[i] = toStoredKey(query.Kind, e)
	}
	return out, nil
}

func (s admin) inspect(q url.Values, r *http.Request) (any, error) {
	in, err := s.cache.Inspect(r.Context(), q.Get("key"))
	if err == nil && !in.Found {
		err = jackcache.ErrNotFound
	}
	k := toStoredKey(in.Kind, in.Listed)
	k.Value = in.JSON
	return k, err
}

func fail(w http.ResponseWriter, err error) {
	e := apiError{Status: http.StatusInternalServerError, Type: "/problems/internal", Title: "Internal error", Detail: err.Error()}
	for _, known := range []struct {
		err    error
		status int
		name   string
		title  string
	}{
		{jackcache.ErrInvalid, http.StatusBadRequest, "invalid", "Invalid input"},
		{jackcache.ErrNotFound, http.StatusNotFound, "not-found", "Not found"},
		{jackcache.ErrUnavailable, http.StatusServiceUnavailable, "unavailable", "Store unavailable"},
		{jackcache.ErrClosed, http.StatusServiceUnavailable, "closed", "Shutting down"},
	} {
		if errors.Is(err, known.err) {
			e.Status, e.Type, e.Title = known.status, "/problems/"+known.name, known.title
			e.Detail = strings.ReplaceAll(e.Detail, known.err.Error()+": ", "")
		}
	}
	send(w, e.Status, "application/problem+json", e)
}

func send(w http.ResponseWriter, status int, contentType string, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		status, body = http.StatusInternalServerError, nil // a value that is not JSON
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client is told nothing if it is gone
}
