package keys

import (
	"errors"
	"path"
	"testing"

	"pgregory.net/rapid"
)

// TestHousekeepingIsTheInverse: the keys that stand beside others lead back to
// them, and to nothing else.
func TestHousekeepingIsTheInverse(t *testing.T) {
	s := space(t, Dev)
	if got, want := s.Store(), "jack:dev:__store"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[ -~]{1,20}`)
		o, err := ParseOrg("o" + text.Draw(t, "org"))
		if err != nil {
			t.Fatal(err)
		}
		id, err := ParseID("i" + text.Draw(t, "id"))
		if err != nil {
			t.Fatal(err)
		}
		k := s.Key("lead", o, id)
		if got, err := s.ParseForgotten(s.Forgotten(k).String()); err != nil || got != s.Forgotten(k) {
			t.Fatalf("forgotten %s: %v, %v", k, got, err)
		}
		if got, err := s.ParseMeta(s.Meta(k)); err != nil || got != k {
			t.Fatalf("companion of %s: %v, %v", k, got, err)
		}
		for _, name := range []string{k.String(), s.Meta(k)} {
			if ok, err := path.Match(s.OrgPattern(o), name); err != nil || !ok {
				t.Fatalf("pattern %s does not match %s: %v", s.OrgPattern(o), name, err)
			}
		}
	})
	canary := s.Canary(s.SlotProbe(1, 2), "p", 3)
	if want := "jack:dev:__canary:{jack:dev:__probe:0001:2}:p:3"; canary != want || !s.IsCanary(canary) {
		t.Errorf("%s, want %s", canary, want)
	}
	k := s.Key("lead", parsed(t, ParseOrg, "a"), parsed(t, ParseID, "b"))
	for _, text := range []string{"", k.String(), s.Store(), "jack:prod:__canary:{x}:p:3", "__canary:{x}:p:3"} {
		if s.IsCanary(text) {
			t.Errorf("%q is taken for a canary", text)
		}
	}
	for _, text := range []string{"", k.String(), s.Store(), s.Generation(k.Org()), s.Load(k), "jack:prod:__meta:{" + k.String() + "}", s.Meta(k) + "x"} {
		if _, err := s.ParseMeta(text); !errors.Is(err, ErrInvalid) {
			t.Errorf("companion %q: %v", text, err)
		}
		if _, err := s.ParseForgotten(text); !errors.Is(err, ErrInvalid) {
			t.Errorf("forgotten %q: %v", text, err)
		}
	}
}
