package keys

import (
	"errors"
	"path"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func space(t testing.TB, env string) Space {
	t.Helper()
	s, err := NewSpace(env)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func parsed[T any](t testing.TB, parse func(string) (T, error), s string) T {
	t.Helper()
	v, err := parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestKeyTexts(t *testing.T) {
	phone, err := ParsePhone("+1234567890", "")
	if err != nil {
		t.Fatal(err)
	}
	dev, prod := space(t, Dev), space(t, Prod)
	o := parsed(t, ParseOrg, "org-123")
	for _, c := range []struct{ got, want string }{
		{dev.Key(Conversations, o, phone.DigitsID()).String(), "jack:dev:conversationContexts:org-123:1234567890"},
		{prod.Key(PhoneToLead, o, phone.PlusID()).String(), "jack:prod:phoneToLead:org-123:+1234567890"},
		{prod.Directory(phone).String(), "jack:prod:phoneToLead:+1234567890"},
		{dev.Key("organization", parsed(t, ParseOrg, "org-456"), NoID).String(), "jack:dev:organization:org-456"},
		{dev.Key("lead", parsed(t, ParseOrg, "a:b"), parsed(t, ParseID, "{*}/é")).String(), "jack:dev:lead:a%3Ab:%7B%2A%7D%2F%C3%A9"},
		{dev.Meta(dev.Key(Conversations, o, phone.DigitsID())), "jack:dev:__meta:{jack:dev:conversationContexts:org-123:1234567890}"},
		{dev.Load(dev.Key("agentConfig", o, NoID)), "jack:dev:__load:{jack:dev:agentConfig:org-123}"},
		{dev.Load(dev.Directory(phone)), "jack:dev:__load:{jack:dev:phoneToLead:+1234567890}"},
		{dev.Generation(o), "jack:dev:__gen:org-123"},
		{dev.Instance(0xab), "jack:dev:__instance:00ab"},
		{dev.Invalidated(o, "019a8c4b7e1000000001"), "jack:dev:__invalidated:{" + dev.Generation(o) + "}:019a8c4b7e1000000001"},
		{dev.Beat("a:b{c}"), "jack:dev:__beat:a%3Ab%7Bc%7D"},
		{dev.SlotBeat("a", 3), "jack:dev:__beat:a:3"},
		{dev.Probe(0xab), "jack:dev:__probe:00ab"},
		{dev.Pattern("lead", o), "jack:dev:lead:org-123:*"},
		{dev.Pattern("lead", Org{}), "jack:dev:lead:*"},
		{dev.Prefix(), "jack:dev:"},
	} {
		if c.got != c.want {
			t.Errorf("%s, want %s", c.got, c.want)
		}
	}
	if _, err := NewSpace("production"); !errors.Is(err, ErrInvalid) {
		t.Errorf("environment production: %v", err)
	}
}

// hostile are organisations and ids that try to be something else.
var hostile = []string{
	"a", "a:b", "a%3Ab", "a%253Ab", "*", "?", "[a-z]", "\\*", "{x}", "}{", "global", "+16045550000", "%", "%2", "%zz", "%2a", " ", "a ", "A",
	"é", "e\u0301", "日本", "__gen", "__meta:{jack:dev:lead:a:1}", "jack:dev:lead:a:1", "...", "a/../b", "'; DROP TABLE--", "a|b", "\u200b", "~", "-",
	"\u202e", "null", "0", strings.Repeat("x", MaxPart), strings.Repeat("é", MaxPart/2),
}

func TestParseIsTheInverse(t *testing.T) {
	s := space(t, Dev)
	seen := map[string]Key{}
	check := func(k Key) {
		t.Helper()
		got, err := s.Parse(k.String())
		if err != nil || got != k {
			t.Errorf("parse %s: %+v, %v; want %+v", k, got, err, k)
		}
		if other, ok := seen[k.String()]; ok && other != k {
			t.Errorf("%s is the key of %+v and of %+v", k, other, k)
		}
		seen[k.String()] = k
		if _, err := space(t, Prod).Parse(k.String()); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s is read as a key of prod: %v", k, err)
		}
	}
	phone, err := ParsePhone("+16045550000", "")
	if err != nil {
		t.Fatal(err)
	}
	check(s.Directory(phone))
	for _, name := range hostile {
		o := parsed(t, ParseOrg, name)
		if o.String() != name {
			t.Errorf("organisation %q reads %q", name, o)
		}
		check(s.Key("organization", o, NoID))
		check(s.Key(PhoneToLead, o, phone.PlusID()))
		check(s.Key(Conversations, o, phone.DigitsID()))
		for _, id := range hostile {
			check(s.Key("lead", o, parsed(t, ParseID, id)))
		}
	}
}

func TestParseRefuses(t *testing.T) {
	s := space(t, Dev)
	for _, text := range []string{
		"", "jack:dev:", "jack:dev:lead", "jack:prod:lead:a:1", "jack:dev:lead:a:1:2", "jack:dev::a:1", "jack:dev:lead::1", "jack:dev:lead:a:",
		"jack:dev:__gen:a", "jack:dev:__meta:{jack:dev:lead:a:1}", "jack:dev:le ad:a:1", "jack:dev:9lead:a:1", "Jack:dev:lead:a:1",
		"jack:dev:lead:a b:1", "jack:dev:lead:a%3ab:1", "jack:dev:lead:%61:1", "jack:dev:lead:a%:1", "jack:dev:lead:a%2:1", "jack:dev:lead:a:+16o4",
		"jack:dev:lead:.:1", "jack:dev:lead:..:1", "jack:dev:lead:a:%00", "jack:dev:lead:%FF:1", "jack:dev:phoneToLead:1604",
		"jack:dev:phoneToLead:+1 604", "jack:dev:phoneToLead:+12", "jack:dev:phoneToLead:org-1", "jack:dev:phoneToLead:a:+1x", "jack:dev:phoneToLead:a:+1 604",
		"jack:dev:lead:" + strings.Repeat("x", MaxPart+1) + ":1", "jack:dev:" + strings.Repeat("t", 65) + ":a:1",
	} {
		if k, err := s.Parse(text); !errors.Is(err, ErrInvalid) {
			t.Errorf("parse %q: %+v, %v", text, k, err)
		}
	}
}

func TestPartsRefused(t *testing.T) {
	for _, part := range []string{"", ".", "..", "a\x00", "\n", "a\tb", "\x7f", "\u0085", "\xff", "a\xc3", strings.Repeat("x", MaxPart+1)} {
		if o, err := ParseOrg(part); !errors.Is(err, ErrInvalid) || !o.IsZero() {
			t.Errorf("organisation %q: %+v, %v", part, o, err)
		}
		if id, err := ParseID(part); !errors.Is(err, ErrInvalid) || id != NoID {
			t.Errorf("id %q: %+v, %v", part, id, err)
		}
	}
	for _, typ := range []string{"", "9a", "a-b", "a:b", "__gen", "é", "a ", "@", "[", "a`", strings.Repeat("t", 65)} {
		if got, err := ParseType(typ); !errors.Is(err, ErrInvalid) || got != "" {
			t.Errorf("type %q: %q, %v", typ, got, err)
		}
	}
	for _, typ := range []string{"a", "Z", "lead", "agentConfig", "x9", strings.Repeat("t", 64)} {
		if got, err := ParseType(typ); err != nil || string(got) != typ {
			t.Errorf("type %q: %q, %v", typ, got, err)
		}
	}
}

func TestEscape(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := string(rapid.SliceOf(rapid.Byte()).Draw(t, "a"))
		b := rapid.OneOf(rapid.Just(escape(a)), rapid.StringMatching(`[a%0-9A-F:]{0,6}`)).Draw(t, "b")
		for _, s := range []string{a, b} {
			esc := escape(s)
			if got, err := unescape(esc); err != nil || got != s {
				t.Fatalf("%q is written %q, that reads %q, %v", s, esc, got, err)
			}
			if strings.Trim(esc, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~-%") != "" {
				t.Fatalf("%q is written %q", s, esc)
			}
		}
		if (escape(a) == escape(b)) != (a == b) {
			t.Fatalf("%q and %q are written %q and %q", a, b, escape(a), escape(b))
		}
		// Of every text only what escape writes is read.
		if raw, err := unescape(b); err == nil && escape(raw) != b {
			t.Fatalf("%q reads %q, that is written %q", b, raw, escape(raw))
		}
	})
}

// TestPatternsAreApart: an organisation's pattern matches its own keys only.
func TestPatternsAreApart(t *testing.T) {
	s := space(t, Dev)
	for _, a := range hostile {
		pattern := s.Pattern("lead", parsed(t, ParseOrg, a))
		for _, b := range hostile {
			k := s.Key("lead", parsed(t, ParseOrg, b), parsed(t, ParseID, "1")).String()
			if ok, err := path.Match(pattern, k); err != nil || ok != (a == b) {
				t.Errorf("pattern %s matches %s: %v, %v", pattern, k, ok, err)
			}
		}
	}
}

// FuzzKeys: two different names never give one key, and every key reads back.
func FuzzKeys(f *testing.F) {
	for i, name := range hostile {
		f.Add("lead", name, hostile[(i+7)%len(hostile)], "lead", name, "1")
		f.Add("phoneToLead", name, "+16045550000", "phoneToLead", "+16045550000", "")
	}
	f.Add("lead", "a:b", "c", "lead", "a", "b:c")
	f.Add("lead", "a", "", "lea", "d:a", "")
	s := space(f, Dev)
	build := func(typ, org, id string) (Key, bool) {
		t, err1 := ParseType(typ)
		o, err2 := ParseOrg(org)
		i, err3 := ParseID(id)
		if id == "" {
			i, err3 = NoID, nil
		}
		if p, err := ParsePhone(id, ""); err == nil && t == PhoneToLead {
			i, err3 = p.PlusID(), nil
		}
		// A phone's directory has no organisation, and no kind has both forms.
		if err1 != nil || err2 != nil || err3 != nil || t == PhoneToLead && i == NoID {
			return Key{}, false
		}
		return s.Key(t, o, i), true
	}
	f.Fuzz(func(t *testing.T, typ1, org1, id1, typ2, org2, id2 string) {
		a, ok1 := build(typ1, org1, id1)
		b, ok2 := build(typ2, org2, id2)
		for _, k := range []Key{a, b} {
			if k == (Key{}) {
				continue
			}
			if got, err := s.Parse(k.String()); err != nil || got != k {
				t.Fatalf("parse %s: %+v, %v; want %+v", k, got, err, k)
			}
		}
		if ok1 && ok2 && (a.String() == b.String()) != (a == b) {
			t.Fatalf("%+v and %+v have the keys %s and %s", a, b, a, b)
		}
	})
}
