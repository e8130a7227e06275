package httpapi

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/jackcache/jackcache"
)

// Operators see keys as they are stored, of all organisations. Both routes only
// read.

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
	Cursor string      `json:"cursor"` // empty: there are no more
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

func (s *Server) listKeys(x *exchange) error {
	limit, err := number(x.query, "limit", jackcache.MaxList)
	if err != nil {
		return err
	}
	list := s.a.Cache.List
	if x.query.Has("org") {
		list = s.a.Cache.Org(x.query.Get("org")).List
	}
	q := jackcache.ListQuery{Kind: x.query.Get("kind"), Cursor: x.query.Get("cursor"), Limit: limit}
	l, err := list(x.r.Context(), q)
	if err != nil {
		return err
	}
	out := keyPage{Keys: make([]storedKey, len(l.Entries)), Cursor: l.Cursor}
	for i, e := range l.Entries {
		out.Keys[i] = toStoredKey(q.Kind, e)
	}
	return x.sendJSON(http.StatusOK, out)
}

func (s *Server) inspect(x *exchange) error {
	in, err := s.a.Cache.Inspect(x.r.Context(), x.query.Get("key"))
	if err != nil {
		return err
	}
	if !in.Found {
		return jackcache.ErrNotFound
	}
	k := toStoredKey(in.Kind, in.Listed)
	k.Value = in.JSON
	return x.sendJSON(http.StatusOK, k)
}
