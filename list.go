package jackcache

import (
	"context"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

// MaxList bounds ListQuery.Limit.
const MaxList = 1000

// ListQuery restricts a listing.
type ListQuery struct {
	// Kind is the name of a kind, or ConversationKind. Required.
	Kind string
	// Cursor is Page.Cursor of the page before; empty: from the start.
	Cursor string
	// Limit is about how many entries a page has. Default 100, at most MaxList.
	Limit int
}

// Listing is a page of a listing.
type Listing struct {
	Entries []Listed
	// Cursor gets the next page; empty: there is none.
	Cursor string
}

// Listed is one entry of a listing.
type Listed struct {
	Key       string // in the shared store
	Org       string // empty: the directory
	ID        string // a phone in E.164 form, or the id
	Version   Version
	Messages  int // of a conversation
	Bytes     int // as stored
	ExpiresAt time.Time
}

// List returns what the organisation has of a kind. An entry that changes
// meanwhile may come twice. It is outside the budget.
func (o Org) List(ctx context.Context, q ListQuery) (Listing, error) {
	if err := o.check(); err != nil {
		return Listing{}, err
	}
	if o.directory {
		return Listing{}, invalid("list the directory with Cache.List")
	}
	return o.cache.list(ctx, o.org, q)
}

// List returns what all organisations have of a kind, for operators.
func (c *Cache) List(ctx context.Context, q ListQuery) (Listing, error) {
	return c.list(ctx, keys.Org{}, q)
}

func (c *Cache) list(ctx context.Context, org keys.Org, q ListQuery) (Listing, error) {
	typ, form, err := c.listed(q.Kind)
	if err != nil {
		return Listing{}, err
	}
	if q.Limit < 0 || q.Limit > MaxList {
		return Listing{}, invalid("limit %d: allowed are 1 to %d", q.Limit, MaxList)
	}
	p, err := c.engine.List(ctx, store.Query{Type: typ, Org: org, Cursor: q.Cursor, Limit: q.Limit})
	if err != nil {
		return Listing{}, mapError(ctx, "list", err)
	}
	l := Listing{Cursor: p.Cursor, Entries: make([]Listed, len(p.Entries))}
	for i, e := range p.Entries {
		id := e.Key.ID().String()
		if form == PhoneID {
			id = "+" + id
		}
		l.Entries[i] = Listed{
			Key: e.Key.String(), Org: e.Key.Org().String(), ID: id, Version: toVersion(e.Version),
			Messages: e.Messages, Bytes: e.Bytes, ExpiresAt: e.ExpiresAt,
		}
	}
	return l, nil
}

func (c *Cache) listed(name string) (keys.Type, IDForm, error) {
	if name == ConversationKind {
		return keys.Conversations, PhoneID, nil
	}
	k, ok := c.kinds[name]
	if !ok {
		return "", 0, invalid("unknown kind %q: allowed are %s", name, c.kindNames())
	}
	if k.opts.LocalOnly {
		return "", 0, invalid("kind %q stays in the process and cannot be listed", name)
	}
	return k.typ, k.opts.ID, nil
}
