package filestore

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"testing"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

func (f *fixture) page(q store.Query) store.Page {
	f.t.Helper()
	p, err := f.List(context.Background(), q)
	if err != nil {
		f.t.Fatal(err)
	}
	return p
}

// TestListWhileItChanges: what was there all the time comes exactly once.
func TestListWhileItChanges(t *testing.T) {
	f := newFixture(t)
	for i := range 100 {
		f.apply(f.set(f.value("a", fmt.Sprintf("%03d", i)), "x"), store.Applied)
	}
	q := store.Query{Type: "lead", Org: f.org("a"), Limit: 7}
	seen := make(map[string]int)
	for page := 0; ; page++ {
		p := f.page(q)
		for _, e := range p.Entries {
			seen[e.Key.ID().String()]++
		}
		if p.Cursor == "" {
			break
		}
		last := p.Entries[len(p.Entries)-1].Key
		f.apply(f.tombstone(last), store.Applied) // the one that the cursor names
		f.apply(f.set(f.value("a", fmt.Sprintf("000-%d", page)), "x"), store.Applied)
		q.Cursor = p.Cursor
	}
	for i := range 100 {
		if n := seen[fmt.Sprintf("%03d", i)]; n != 1 {
			t.Errorf("%03d came %d times", i, n)
		}
	}
}

func TestListDirectory(t *testing.T) {
	f := newFixture(t)
	f.apply(f.set(f.directory(), "x"), store.Applied)
	p, err := keys.ParsePhone("+16045550001", "")
	if err != nil {
		t.Fatal(err)
	}
	mapped := f.space.Key(keys.PhoneToLead, f.org("a"), p.PlusID())
	f.apply(f.set(mapped, "x"), store.Applied)
	q := store.Query{Type: keys.PhoneToLead, Limit: 1}
	var got []keys.Key
	for {
		page := f.page(q)
		for _, e := range page.Entries {
			got = append(got, e.Key)
		}
		if q.Cursor = page.Cursor; q.Cursor == "" {
			break
		}
	}
	if len(got) != 2 || got[0] != f.directory() || got[1] != mapped {
		t.Errorf("listed %v", got)
	}
	if p := f.page(store.Query{Type: keys.PhoneToLead, Org: f.org("a")}); len(p.Entries) != 1 || p.Entries[0].Key != mapped {
		t.Errorf("listed %v for one organisation", p.Entries)
	}
	none := f.space.Key("organization", f.org("a"), keys.NoID)
	f.apply(f.set(none, "x"), store.Applied)
	if p := f.page(store.Query{Type: "organization"}); len(p.Entries) != 1 || p.Entries[0].Key != none {
		t.Errorf("listed %v for a kind without ids", p.Entries)
	}
}

func TestBrokenCursors(t *testing.T) {
	f := newFixture(t)
	other := base64.RawURLEncoding.EncodeToString([]byte(f.value("b", "1").String()))
	for _, c := range []string{"?", "x", "AAAA", base64.RawURLEncoding.EncodeToString([]byte("jack:prod:lead:a:1")), other} {
		_, err := f.List(context.Background(), store.Query{Type: "lead", Org: f.org("a"), Cursor: c})
		if !errors.Is(err, keys.ErrInvalid) {
			t.Errorf("cursor %q: %v, want ErrInvalid", c, err)
		}
	}
	if _, err := f.List(context.Background(), store.Query{Type: "agentConfig", Cursor: other}); !errors.Is(err, keys.ErrInvalid) {
		t.Errorf("cursor of another type: %v, want ErrInvalid", err)
	}
}

func TestHealth(t *testing.T) {
	f := newFixture(t)
	f.apply(f.set(f.value("a", "1"), "x"), store.Applied)
	f.apply(f.set(f.value("a", "1"), "y"), store.Applied)
	f.apply(f.append(f.talk("a", "1"), "a"), store.Applied)
	check := func() {
		t.Helper()
		h := f.Health()
		if h.Kind != "embedded" || h.State != store.Up || h.Keys != 2 || h.UsedBytes <= 0 || h.MaxBytes != DefaultMaxBytes || !h.Since.Equal(start) {
			t.Errorf("health %+v", h)
		}
	}
	check()
	f.close()
	f.open()
	check()
}
