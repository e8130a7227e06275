package migrate_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/migrate"
)

// fill writes something of every kind, live.
func fill(t testing.TB, a *assistant.Assistant) {
	t.Helper()
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for i, name := range []string{"org-1", "a:b", "*", "{x}", "tel", "x:tel", "+16045540000", "größe 🚗", "undefined", "global", "sms"} {
		org := a.Cache.Org(name)
		phone := fmt.Sprintf("+1604555%04d", i)
		_, err := org.Conversation(phone).Append(ctx,
			jackcache.Message{ID: "1", Role: "user", Content: "<b>hi & \u2028</b>"},
			jackcache.Message{JSON: json.RawMessage("{\n \"id\": \"2\",\n \"role\": \"user\", \"content\": [1,  2]}")})
		must(err)
		_, err = a.Kinds.Summary.Set(ctx, org, phone, assistant.Summary{Text: "a\n\"summary\""})
		must(err)
		must(a.Link(ctx, org, phone, "lead:"+name))
		_, err = a.Kinds.Organization.Set(ctx, org, "", json.RawMessage(`{"name": "D"}`))
		must(err)
		_, err = a.Kinds.AgentConfig.Set(ctx, org, "sales:de", json.RawMessage(`{"html":"<&>"}`))
		must(err)
		_, err = a.Kinds.SSEResponse.Set(ctx, org, "x", json.RawMessage(`1`))
		must(err)
	}
	must(a.Link(ctx, a.Cache.Directory(), "+16045559999", "lead-d"))
}

func TestExportImportExport(t *testing.T) {
	a, b := open(t), open(t)
	fill(t, a)
	first := exportText(t, a, migrate.ExportOptions{})
	if n := strings.Count(first, "\n"); n != 11*5 {
		t.Fatalf("%d lines, want 55:\n%s", n, first)
	}
	r := importText(t, b, first, migrate.ImportOptions{})
	if r.Imported != r.Seen {
		t.Fatalf("%+v", r)
	}
	if second := exportText(t, b, migrate.ExportOptions{}); second != first {
		t.Errorf("exports differ:\n%s\n%s", first, second)
	}
	if r := importText(t, b, first, migrate.ImportOptions{}); r.Unchanged != r.Seen {
		t.Errorf("second import: %+v, want unchanged", r)
	}
	for _, org := range []string{"org-1", "a:b", "x:tel"} {
		if phone, err := b.PhoneOf(t.Context(), b.Cache.Org(org), "lead:"+org); err != nil || !strings.HasPrefix(phone, "+1604555") {
			t.Errorf("PhoneOf %s: %q, %v", org, phone, err)
		}
	}
}

func TestExportLines(t *testing.T) {
	a := open(t)
	ctx, org := t.Context(), a.Cache.Org("org-1")
	if _, err := org.Conversation("6045550001").Append(ctx, jackcache.Message{JSON: json.RawMessage(`{ "id":"1", "role":"user"}`)}); err != nil {
		t.Fatal(err)
	}
	if err := a.Link(ctx, org, "6045550001", "lead-1"); err != nil {
		t.Fatal(err)
	}
	if err := a.Link(ctx, a.Cache.Org("a:b"), "6045550001", "lead-1"); err != nil {
		t.Fatal(err)
	}
	if err := a.Link(ctx, a.Cache.Directory(), "6045550001", "lead-1"); err != nil {
		t.Fatal(err)
	}
	const (
		conversation = `{"map":"conversationContexts","key":"org-1:+16045550001","value":[{ "id":"1", "role":"user"}]}` + "\n"
		directory    = `{"map":"phoneToLeadMapping","key":"+16045550001","value":"lead-1"}` + "\n"
		colon        = `{"map":"phoneToLeadMapping","key":"a:b:+16045550001","org":"a:b","id":"+16045550001","value":"lead-1"}` + "\n"
		lead         = `{"map":"phoneToLeadMapping","key":"org-1:+16045550001","value":"lead-1"}` + "\n"
		back         = `{"map":"leadToPhoneMapping","key":"org-1:lead-1","value":"+16045550001"}` + "\n"
	)
	tests := []struct {
		name string
		o    migrate.ExportOptions
		want string
	}{
		{"all", migrate.ExportOptions{}, conversation + colon + lead},
		{"directory", migrate.ExportOptions{IncludeDirectory: true}, conversation + directory + colon + lead},
		{"org", migrate.ExportOptions{Org: "org-1", IncludeDirectory: true}, conversation + lead},
		{"kind", migrate.ExportOptions{Kinds: []string{"phoneToLead", "phoneToLeadMapping"}}, colon + lead},
		{"way back", migrate.ExportOptions{Kinds: []string{"leadToPhone"}, Org: "org-1"}, back},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := exportText(t, a, tt.o); got != tt.want {
				t.Errorf("got\n%swant\n%s", got, tt.want)
			}
		})
	}
	for _, o := range []migrate.ExportOptions{{Kinds: []string{"nothing"}}, {Kinds: []string{"sseResponse"}}, {Org: ".."}} {
		if _, err := migrate.Export(ctx, a, &bytes.Buffer{}, o); !errors.Is(err, jackcache.ErrInvalid) {
			t.Errorf("Export %+v: %v, want %v", o, err, jackcache.ErrInvalid)
		}
	}
}

func TestDirectoryWantsTheOption(t *testing.T) {
	const text = `{"map":"phoneToLeadMapping","key":"+16045550001","value":"lead-1"}`
	a := open(t)
	if r := importText(t, a, text, migrate.ImportOptions{}); r.SetAside != 1 {
		t.Errorf("%+v", r)
	}
	for _, want := range []string{imported, unchanged} {
		if r := importText(t, a, text, migrate.ImportOptions{IncludeDirectory: true}); fate(r) != want {
			t.Errorf("%+v, want %s", r, want)
		}
	}
	closed := openWith(t, jackcache.Options{})
	r := importText(t, closed, text, migrate.ImportOptions{IncludeDirectory: true})
	if fate(r) != failed || !strings.Contains(r.Problems[0].Reason, "JACKCACHE_DIRECTORY") {
		t.Errorf("directory off: %+v", r)
	}
}

func TestExportStopsWhereTheWriterFails(t *testing.T) {
	a := open(t)
	fill(t, a)
	if _, err := migrate.Export(t.Context(), a, fullDisk{}, migrate.ExportOptions{}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("export to a full disk: %v, want the writer's error", err)
	}
}

// fullDisk is a writer that has no room.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, syscall.ENOSPC }
