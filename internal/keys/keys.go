// Package keys is the only code that knows how an organisation, a kind of data
// and an id become a key of the shared store, and back.
//
//	jack:<dev|prod>:<type>:<org>:<id>
//	jack:<dev|prod>:<type>:<org>           kinds with one value per organisation
//	jack:<dev|prod>:phoneToLead:<phone>    the directory without an organisation
//	jack:<dev|prod>:__<name>...            housekeeping
//
// Every part is typed and escaped, so that no input of any shape reaches
// another organisation's keys.
package keys

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxPart is the longest organisation or id that is accepted, in bytes before
// escaping.
const MaxPart = 128

// Environments; the key prefix follows from them.
const (
	Dev  = "dev"
	Prod = "prod"
)

// ErrInvalid is wrapped by every refusal of an organisation, id, phone, type or
// key; the message names what was wrong and what is allowed.
var ErrInvalid = errors.New("invalid")

// Org is a validated organisation id. The zero Org is not an organisation: keys
// without one belong to the directory.
type Org struct{ raw, esc string }

// ParseOrg validates an organisation id: 1 to MaxPart bytes of UTF-8 without
// control characters, neither "." nor "..".
func ParseOrg(s string) (Org, error) {
	if isPlain(s) {
		return Org{raw: s, esc: s}, nil
	}
	if err := checkPart("organisation id", s); err != nil {
		return Org{}, err
	}
	return Org{raw: s, esc: escape(s)}, nil
}

// String returns the id as it was given.
func (o Org) String() string { return o.raw }

// IsZero reports whether o is no organisation.
func (o Org) IsZero() bool { return o.raw == "" }

// ID is a validated id within a kind: opaque, a phone, or none.
type ID struct{ raw, esc string }

// NoID is the id of kinds with one value per organisation.
var NoID ID

// ParseID validates an opaque id (a lead, an agent), by the rules of ParseOrg.
func ParseID(s string) (ID, error) {
	if isPlain(s) {
		return ID{raw: s, esc: s}, nil
	}
	if err := checkPart("id", s); err != nil {
		return ID{}, err
	}
	return ID{raw: s, esc: escape(s)}, nil
}

// String returns the id as it was given; for phones the digits or the E.164
// form, as the kind keeps them.
func (i ID) String() string { return i.raw }

// isPlain reports whether a part is allowed and is its own escape, as most are: one
// look at each byte then tells.
func isPlain(s string) bool {
	if s == "" || len(s) > MaxPart || s[0] == '.' {
		return false
	}
	for i := range len(s) {
		if !plain(s[i]) {
			return false
		}
	}
	return true
}

func checkPart(what, s string) error {
	switch {
	case s == "":
		return fmt.Errorf("%w %s: it is empty; allowed are 1 to %d bytes", ErrInvalid, what, MaxPart)
	case len(s) > MaxPart:
		return fmt.Errorf("%w %s: it has %d bytes; allowed are 1 to %d", ErrInvalid, what, len(s), MaxPart)
	case !utf8.ValidString(s):
		return fmt.Errorf("%w %s %q: it is not UTF-8", ErrInvalid, what, s)
	case s == "." || s == "..":
		return fmt.Errorf("%w %s %q: a URL path cannot carry it", ErrInvalid, what, s)
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return fmt.Errorf("%w %s %q: it has the control character %U", ErrInvalid, what, s, r)
		}
	}
	return nil
}

// Type is the second part of a key: which kind of data it holds.
type Type string

// Key types with a meaning of their own in the product.
const (
	Conversations Type = "conversationContexts"
	Summaries     Type = "conversationSummaries"
	PhoneToLead   Type = "phoneToLead"
	LeadToPhone   Type = "leadToPhone"
)

// ParseType validates a key type: a letter, then letters and digits, at most 64
// bytes. Housekeeping types start with "__" and cannot be declared.
func ParseType(s string) (Type, error) {
	if s == "" || len(s) > 64 {
		return "", fmt.Errorf("%w key type %q: allowed are 1 to 64 bytes", ErrInvalid, s)
	}
	for i := range len(s) {
		c := s[i] | 0x20
		letter := c >= 'a' && c <= 'z'
		if !letter && (i == 0 || s[i] < '0' || s[i] > '9') {
			return "", fmt.Errorf("%w key type %q: allowed are a letter, then letters and digits", ErrInvalid, s)
		}
	}
	return Type(s), nil
}

// Key names one value or conversation in the shared store. The zero Key names
// nothing.
type Key struct {
	text string
	typ  Type
	org  Org
	id   ID
}

// String returns the key as it is stored.
func (k Key) String() string { return k.text }

// Type returns the key's type.
func (k Key) Type() Type { return k.typ }

// Org returns the organisation, zero for the directory.
func (k Key) Org() Org { return k.org }

// ID returns the id.
func (k Key) ID() ID { return k.id }

// Space builds and reads the keys of one environment.
type Space struct{ prefix string }

// NewSpace returns the space of an environment, Dev or Prod.
func NewSpace(env string) (Space, error) {
	if env != Dev && env != Prod {
		return Space{}, fmt.Errorf("%w environment %q: allowed are %q and %q", ErrInvalid, env, Dev, Prod)
	}
	return Space{prefix: "jack:" + env + ":"}, nil
}

// Prefix returns what every key of the space starts with.
func (s Space) Prefix() string { return s.prefix }

// Key returns the key of a type for an organisation and an id.
func (s Space) Key(t Type, o Org, id ID) Key {
	k := Key{typ: t, org: o, id: id}
	if id == NoID {
		k.text = s.prefix + string(t) + ":" + o.esc
	} else {
		k.text = s.prefix + string(t) + ":" + o.esc + ":" + id.esc
	}
	return k
}

// Directory returns the key of a phone in the directory without an
// organisation.
func (s Space) Directory(p Phone) Key {
	id := p.PlusID()
	return Key{typ: PhoneToLead, id: id, text: s.prefix + string(PhoneToLead) + ":" + id.esc}
}

// Forgotten returns the key that says that the person whose value k held was
// forgotten. It belongs to no organisation: no invalidation ends it.
func (s Space) Forgotten(k Key) Key {
	id := ID{raw: k.text, esc: escape(k.text)}
	return Key{typ: "__forgotten", id: id, text: s.prefix + "__forgotten:" + id.esc}
}

// Meta returns the key of the companion hash of a conversation. The braces put
// it into the Cluster slot of the conversation itself.
//
// See https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags
func (s Space) Meta(k Key) string { return s.prefix + "__meta:{" + k.text + "}" }

// Load returns the key of the lease to load what k holds, in the Cluster slot of
// k itself.
func (s Space) Load(k Key) string { return s.prefix + "__load:{" + k.text + "}" }

// Generation returns the key of an organisation's generation counter.
func (s Space) Generation(o Org) string { return s.prefix + generations + o.esc }

// AppendGeneration appends that key to dst.
func (s Space) AppendGeneration(dst []byte, o Org) []byte {
	dst = append(dst, s.prefix...)
	dst = append(dst, generations...)
	return append(dst, o.esc...)
}

// Invalidated returns the key that keeps the answer to an invalidation with a
// token, in the Cluster slot of the generation.
func (s Space) Invalidated(o Org, token string) string {
	return s.prefix + "__invalidated:{" + s.Generation(o) + "}:" + token
}

// Beat returns the key that has the heartbeat of the instance with an identity.
func (s Space) Beat(identity string) string { return s.prefix + "__beat:" + escape(identity) }

// SlotBeat is Beat with a salt, by which the heartbeat for a node of a Cluster
// lies in a slot of the node.
func (s Space) SlotBeat(identity string, salt int) string {
	return fmt.Sprintf("%s:%d", s.Beat(identity), salt)
}

// Instance returns the key that claims an instance number.
func (s Space) Instance(node uint16) string {
	return fmt.Sprintf("%s__instance:%04x", s.prefix, node)
}

// Probe returns the key that a node's prober writes.
func (s Space) Probe(node uint16) string { return fmt.Sprintf("%s__probe:%04x", s.prefix, node) }

// SlotProbe is Probe with a salt, by which a prober finds a key in a Cluster slot
// of the node.
func (s Space) SlotProbe(node uint16, salt int) string {
	return fmt.Sprintf("%s:%d", s.Probe(node), salt)
}

// Pattern returns the SCAN pattern of an organisation's keys of a type that has
// ids; a zero Org stands for all organisations. An escaped part has none of the
// characters that mean something in a pattern.
func (s Space) Pattern(t Type, o Org) string {
	if o.IsZero() {
		return s.prefix + string(t) + ":*"
	}
	return s.prefix + string(t) + ":" + o.esc + ":*"
}

// Parse reads a stored key back into its parts. It refuses keys of other
// environments, housekeeping keys, and spellings that Key never writes.
func (s Space) Parse(text string) (Key, error) {
	rest, ok := strings.CutPrefix(text, s.prefix)
	if !ok {
		return Key{}, fmt.Errorf("%w key %q: it does not start with %s", ErrInvalid, text, s.prefix)
	}
	parts := strings.Split(rest, ":")
	typ, err := ParseType(parts[0])
	if err != nil {
		return Key{}, fmt.Errorf("key %q: %w", text, err)
	}
	if len(parts) < 2 || len(parts) > 3 {
		return Key{}, fmt.Errorf("%w key %q: want %s<type>:<org>[:<id>]", ErrInvalid, text, s.prefix)
	}
	if typ == PhoneToLead && len(parts) == 2 {
		p, err := ParsePhone(parts[1], "")
		if err != nil || p.PlusID().esc != parts[1] {
			return Key{}, fmt.Errorf("%w key %q: the directory wants a phone as +digits", ErrInvalid, text)
		}
		return s.Directory(p), nil
	}
	org, err := parsePart(parts[1], ParseOrg)
	if err != nil {
		return Key{}, fmt.Errorf("key %q: %w", text, err)
	}
	id := NoID
	if len(parts) == 3 {
		if id, err = parseStoredID(parts[2]); err != nil {
			return Key{}, fmt.Errorf("key %q: %w", text, err)
		}
	}
	return s.Key(typ, org, id), nil
}

func parsePart[T any](esc string, parse func(string) (T, error)) (T, error) {
	raw, err := unescape(esc)
	if err != nil {
		var zero T
		return zero, fmt.Errorf("%w part %q: %w", ErrInvalid, esc, err)
	}
	return parse(raw)
}

func parseStoredID(esc string) (ID, error) {
	if strings.HasPrefix(esc, "+") {
		p, err := ParsePhone(esc, "")
		if err != nil || p.PlusID().esc != esc {
			return ID{}, fmt.Errorf("%w phone %q", ErrInvalid, esc)
		}
		return p.PlusID(), nil
	}
	return parsePart(esc, ParseID)
}
