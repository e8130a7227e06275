package keys

import (
	"fmt"
	"strconv"
	"strings"
)

// Store returns the key that holds the id of the shared store.
func (s Space) Store() string { return s.prefix + "__store" }

// Canary returns the n-th key by which a process proves that it hears of changes,
// in the Cluster slot of the key near, which has no braces.
func (s Space) Canary(near, process string, n uint64) string {
	return s.prefix + canaries + "{" + near + "}:" + process + ":" + strconv.FormatUint(n, 10)
}

// IsCanary reports whether a key is one of Canary, of any process.
func (s Space) IsCanary(text string) bool {
	rest, ok := strings.CutPrefix(text, s.prefix)
	return ok && strings.HasPrefix(rest, canaries)
}

const (
	generations = "__gen:"
	canaries    = "__canary:"
	barriers    = "__barrier:"
	seen        = "__seen:"
)

// Listeners returns the key of the list of processes that give copies.
func (s Space) Listeners() string { return s.prefix + "__listeners" }

// Raised returns the key of the generations that were raised because they had been
// lost.
func (s Space) Raised() string { return s.prefix + "__raised" }

// Suspension returns the key by which a process that gives copies is told that it
// is suspended, in the Cluster slot of Listeners.
func (s Space) Suspension(process string) string {
	return s.prefix + "__suspended:{" + s.Listeners() + "}:" + process
}

// Barrier returns the n-th key by which a process asks all that give copies
// whether they have seen what became of an organisation's generation, in the
// Cluster slot of that.
func (s Space) Barrier(o Org, process string, n uint64) string {
	return s.prefix + barriers + "{" + s.Generation(o) + "}:" + process + ":" + strconv.FormatUint(n, 10)
}

// AsBarrier reports whether a key is one of Barrier, of which organisation, and of
// which process.
func (s Space) AsBarrier(text string) (o Org, process string, ok bool) {
	rest, ok := strings.CutPrefix(text, s.prefix)
	if !ok || !strings.HasPrefix(rest, barriers) {
		return Org{}, "", false
	}
	of, rest, _ := strings.Cut(strings.TrimPrefix(rest, barriers), "}:")
	esc, ok := strings.CutPrefix(of, "{"+s.prefix+generations)
	if !ok {
		return Org{}, "", false
	}
	raw, err := unescape(esc)
	if err != nil {
		return Org{}, "", false
	}
	if o, err = ParseOrg(raw); err != nil {
		return Org{}, "", false
	}
	process, _, ok = strings.Cut(rest, ":")
	return o, process, ok
}

// Seen returns the key by which a process answers a barrier, in its Cluster slot.
func (s Space) Seen(barrier, process string) string {
	return s.prefix + seen + strings.TrimPrefix(barrier, s.prefix+barriers) + ":" + process
}

// OrgPattern returns a SCAN pattern that matches every key of an organisation,
// and some of others; a zero Org stands for the whole space.
func (s Space) OrgPattern(o Org) string {
	if o.IsZero() {
		return s.prefix + "*"
	}
	return s.prefix + "*" + o.esc + "*"
}

// ParseForgotten reads a key that Forgotten built. It refuses every other one.
func (s Space) ParseForgotten(text string) (Key, error) {
	esc, ok := strings.CutPrefix(text, s.prefix+"__forgotten:")
	if !ok {
		return Key{}, fmt.Errorf("%w key %q: it does not say that somebody was forgotten", ErrInvalid, text)
	}
	raw, err := unescape(esc)
	if err != nil {
		return Key{}, fmt.Errorf("%w key %q: %w", ErrInvalid, text, err)
	}
	k, err := s.Parse(raw)
	if err != nil {
		return Key{}, fmt.Errorf("key %q: %w", text, err)
	}
	return s.Forgotten(k), nil
}

// ParseMeta reads the conversation out of a key that Meta built. It refuses
// every other one.
func (s Space) ParseMeta(text string) (Key, error) {
	inner, ok := strings.CutPrefix(text, s.prefix+"__meta:{")
	inner, closed := strings.CutSuffix(inner, "}")
	if !ok || !closed {
		return Key{}, fmt.Errorf("%w key %q: it is not the companion of a conversation", ErrInvalid, text)
	}
	return s.Parse(inner)
}
