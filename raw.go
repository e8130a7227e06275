package jackcache

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/jackcache/jackcache/internal/keys"
)

// RawKind gives a kind that was handed to Open as JSON, for servers and tools
// that pass values through. It returns ErrInvalid for a name that is not known.
func (c *Cache) RawKind(name string) (RawKind, error) {
	k, ok := c.kinds[name]
	if !ok {
		return RawKind{}, invalid("unknown kind %q: allowed are %s", name, c.kindNames())
	}
	return RawKind{k: k}, nil
}

func (c *Cache) kindNames() string {
	names := []string{ConversationKind}
	for name := range c.kinds {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// RawKind is a kind whose values are JSON. Its methods are those of Kind.
type RawKind struct{ k *kind }

// Info returns the declaration.
func (r RawKind) Info() KindOptions { return r.k.opts }

func (r RawKind) kind() *kind { return r.k }

// Get returns a value as JSON; Found is false where there is none.
func (r RawKind) Get(ctx context.Context, o Org, id string) (RawEntry, error) {
	key, err := o.key(r.k, id)
	if err != nil {
		return RawEntry{}, err
	}
	v, err := o.cache.engine.Get(ctx, key, r.k.policy)
	if err != nil {
		return RawEntry{}, mapError(ctx, "get "+r.k.opts.Name, err)
	}
	o.cache.counts[r.k].countValue(&v)
	if !v.Found {
		return RawEntry{}, nil
	}
	e, err := decode[json.RawMessage](&v)
	if v.Copy != nil && e.Source == SourceNear {
		e.Age = o.cache.engine.ProofAge(key)
	}
	return RawEntry{Found: true, JSON: e.Value, Version: e.Version, Source: e.Source, Age: e.Age}, err
}

// Set stores a JSON value.
func (r RawKind) Set(ctx context.Context, o Org, id string, value []byte, conds ...Condition) (Version, error) {
	key, err := o.key(r.k, id)
	if err != nil {
		return "", err
	}
	if err := r.k.checkSize(len(value)); err != nil {
		return "", err
	}
	payload, err := encode(json.RawMessage(value))
	if err != nil {
		return "", invalid("%s: %v", r.k.opts.Name, err)
	}
	cond, err := toCondition(conds)
	if err != nil {
		return "", err
	}
	v, err := o.cache.engine.Set(ctx, key, payload, r.k.policy, cond)
	if err != nil {
		return "", mapError(ctx, "set "+r.k.opts.Name, err)
	}
	return toVersion(v), nil
}

// Delete removes a value.
func (r RawKind) Delete(ctx context.Context, o Org, id string, conds ...Condition) error {
	return r.k.delete(ctx, o, id, conds)
}

// maxRecursion is how deep the fast check of JSON may recurse.
const maxRecursion = 4096

// ValidJSON reports whether data is one JSON value in UTF-8 (RFC 8259) that nests
// at most 10,000 deep.
func ValidJSON(data []byte) bool {
	if !utf8.Valid(data) {
		return false
	}
	// The fast check recurses: where brackets are too many to be sure that they
	// do not nest too deep, the standard library's, which does not, decides.
	if bytes.Count(data, []byte{'['})+bytes.Count(data, []byte{'{'}) > maxRecursion {
		return json.Valid(data)
	}
	return gjson.ValidBytes(data)
}

// Inspected is what a key of the shared store holds. Its ID is as in the key.
type Inspected struct {
	Listed
	Kind  string
	JSON  []byte // the value, or an array of messages
	Found bool
}

// Inspect reads a key as it is written in the shared store, for operators.
func (c *Cache) Inspect(ctx context.Context, key string) (Inspected, error) {
	k, err := c.space.Parse(key)
	if err != nil {
		return Inspected{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	in := Inspected{Listed: Listed{Key: k.String(), Org: k.Org().String(), ID: k.ID().String()}}
	if k.Type() == keys.Conversations {
		in.Kind = ConversationKind
		err := c.inspectConversation(ctx, k, &in)
		return in, err
	}
	for name, kind := range c.kinds {
		if kind.typ != k.Type() {
			continue
		}
		in.Kind = name
		v, err := c.engine.Get(ctx, k, kind.policy)
		if err != nil {
			return in, mapError(ctx, "inspect", err)
		}
		in.Found, in.JSON, in.Version, in.Bytes = v.Found, slices.Clone(v.Payload), toVersion(v.Version), len(v.Payload)
		return in, nil
	}
	return in, invalid("key %q: no kind has the type %q", key, k.Type())
}

func (c *Cache) inspectConversation(ctx context.Context, k keys.Key, in *Inspected) error {
	log, err := c.engine.Messages(ctx, k, c.opts.Conversation.Window)
	if err != nil {
		return mapError(ctx, "inspect", err)
	}
	t, err := fit(log, ReadOptions{}, c.opts.Conversation.WindowBytes)
	if err != nil {
		return err
	}
	in.Found, in.Messages, in.Version = len(t.Messages) > 0, len(t.Messages), t.Version
	if in.Found {
		in.JSON = JoinMessages(nil, t.Messages)
		in.Bytes = len(in.JSON)
	}
	return nil
}

// JoinMessages adds messages to dst as a JSON array.
func JoinMessages(dst []byte, msgs []json.RawMessage) []byte {
	dst = append(dst, '[')
	for i, m := range msgs {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, m...)
	}
	return append(dst, ']')
}
