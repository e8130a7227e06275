package clock

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func versions() *rapid.Generator[Version] {
	return rapid.Custom(func(t *rapid.T) Version {
		return NewVersion(rapid.Int64Range(0, 1<<48-1).Draw(t, "ms"), rapid.Uint16().Draw(t, "counter"), rapid.Uint16().Draw(t, "node"))
	})
}

func TestVersionText(t *testing.T) {
	v := NewVersion(0x0123456789ab, 0xcdef, 0x1234)
	if got, want := v.String(), "0123456789abcdef1234"; got != want {
		t.Errorf("text %s, want %s", got, want)
	}
	if (Version{}).String() != strings.Repeat("0", VersionLen) || !(Version{}).IsZero() {
		t.Error("the zero Version is not none")
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := versions().Draw(t, "a"), versions().Draw(t, "b")
		if got, err := Parse(a.String()); err != nil || got != a {
			t.Fatalf("parse %s: %s, %v", a, got, err)
		}
		if got, err := Parse(a.Append([]byte("x"))[1:]); err != nil || got != a {
			t.Fatalf("parse bytes of %s: %s, %v", a, got, err)
		}
		if a.Compare(b) != strings.Compare(a.String(), b.String()) || a.Compare(b) != -b.Compare(a) || (a.Compare(b) == 0) != (a == b) {
			t.Fatalf("%s and %s compare as %d", a, b, a.Compare(b))
		}
		if again := NewVersion(a.Millis(), uint16(a.tick), a.Node()); again != a {
			t.Fatalf("from its parts %s, want %s", again, a)
		}
	})
}

func TestParseRefuses(t *testing.T) {
	good := "0123456789abcdef1234"
	bad := []string{"", good[1:], good + "0", strings.ToUpper(good), strings.Repeat(" ", VersionLen), "0x23456789abcdef1234", "-123456789abcdef1234"}
	for i := range good {
		bad = append(bad, good[:i]+"g"+good[i+1:], good[:i]+"\x00"+good[i+1:])
	}
	for _, s := range bad {
		if v, err := Parse(s); !errors.Is(err, ErrVersion) || !v.IsZero() {
			t.Errorf("parse %q: %s, %v", s, v, err)
		}
	}
}

func TestNext(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v, node := versions().Filter(func(v Version) bool { return v.tick < 1<<64-1 }).Draw(t, "v"), rapid.Uint16().Draw(t, "node")
		next := v.Next(node)
		if next.Compare(v) <= 0 || next.Node() != node {
			t.Fatalf("next of %s for node %d: %s", v, node, next)
		}
		if next.tick == 0 {
			return // there is no tick below
		}
		// One tick lower it would not be higher than v.
		if lower := (Version{tick: next.tick - 1, node: node}); lower.Compare(v) > 0 {
			t.Fatalf("next of %s for node %d: %s, but %s is lower", v, node, next, lower)
		}
	})
}

func TestHistoric(t *testing.T) {
	oldest := NewVersion(time.Date(2010, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli(), 0, 0) // of any live write
	instants := []time.Time{
		time.Unix(1, 0), time.Unix(1, int64(time.Millisecond)), time.Unix(999_999_999, 0), time.Unix(1_700_000_000, 0),
		time.Unix(1_700_000_000, 1e6), time.Unix(1_700_000_000, 999e6), time.Unix(1_700_000_001, 0), time.Unix(4_000_000_000, 0),
	}
	var last Version
	for _, at := range instants {
		v := Historic(at, 3)
		if v.Compare(last) <= 0 {
			t.Errorf("%v: %s, not higher than %s of an earlier time", at, v, last)
		}
		if v.Compare(oldest) >= 0 {
			t.Errorf("%v: %s, not lower than every live version", at, v)
		}
		if !v.WrittenAt().Equal(at) {
			t.Errorf("%s was written at %v, want %v", v, v.WrittenAt(), at)
		}
		last = v
	}
	// What no clock shows is still older than every live write, and not none.
	for _, at := range []time.Time{
		{}, time.Unix(0, 0), time.Unix(-1, 0), time.Unix(-1_000_000_000_000, 0), time.UnixMilli(-1), time.Unix(1_700_000_000_000, 0), time.Unix(1<<50, 0),
	} {
		if v := Historic(at, 0); v.IsZero() || v.Compare(oldest) >= 0 {
			t.Errorf("%v: %s", at, v)
		}
	}
}

func TestWrittenAt(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 89e6, time.UTC)
	if got := NewVersion(at.UnixMilli(), 5, 6).WrittenAt(); !got.Equal(at) {
		t.Errorf("written at %v, want %v", got, at)
	}
	if got := (Version{}).WrittenAt(); !got.IsZero() {
		t.Errorf("none was written at %v", got)
	}
}
