package migrate_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/migrate"
)

const (
	imported  = "imported"
	unchanged = "unchanged"
	setAside  = "setAside"
	failed    = "failed"
)

func fate(r migrate.Report) string {
	switch {
	case r.Seen != 1:
		return fmt.Sprintf("%d entries", r.Seen)
	case r.Imported == 1:
		return imported
	case r.Unchanged == 1:
		return unchanged
	case r.SetAside == 1:
		return setAside
	}
	return failed
}

func TestImportShapes(t *testing.T) {
	const hi = `[{"id":"m1","role":"user","content":"hi"}]`
	tests := []struct {
		name, line, want string
		reason           string // part of it
	}{
		{"conversation", `{"map":"conversationContexts","key":"org-1:+16045550001","value":` + hi + `}`, imported, ""},
		{"kind name, digits", `{"map":"conversationContext","key":"org-1:16045550002","value":` + hi + `}`, imported, ""},
		{"ten digits", `{"map":"conversationContexts","key":"org-1:6045550003","value":` + hi + `}`, imported, ""},
		{"colon in org", `{"map":"conversationContexts","key":"a:b:+16045550001","value":` + hi + `}`, imported, ""},
		{"scheme", `{"map":"conversationContexts","key":"org-1:whatsapp:+16045550004","value":` + hi + `}`, imported, ""},
		{"explicit", `{"map":"conversationContexts","org":"x","id":"+16045550001","value":` + hi + `}`, imported, ""},
		{"explicit wins", `{"map":"conversationContexts","key":"y:+1999","org":"x","id":"+16045550005","value":` + hi + `}`, imported, ""},
		{"explicit org", `{"map":"conversationContexts","key":"a:b:+16045550009","org":"a:b","value":` + hi + `}`, imported, ""},
		{"explicit id", `{"map":"leadData","key":"a:b:c","id":"b:c","value":1}`, imported, ""},
		{"global, explicit", `{"map":"leadData","org":"global","id":"7","value":1}`, imported, ""},
		{"several colons, explicit", `{"map":"leadData","key":"org-9:crm:123","org":"org-9","id":"crm:123","value":1}`, imported, ""},
		{"sms in an organisation", `{"map":"conversationContexts","key":"org-1:sms:+16045550006","value":` + hi + `}`, imported, ""},
		{"no messages", `{"map":"conversationContexts","key":"org-1:+16045550001","value":[]}`, unchanged, ""},
		{"summary text", `{"map":"conversationSummaries","key":"org-1:+16045550001","value":"wants red"}`, imported, ""},
		{"summary object", `{"map":"conversationSummary","key":"org-1:+16045550002","value":{"text":"wants red"}}`, imported, ""},
		{"lead", `{"map":"phoneToLeadMapping","key":"org-1:+16045550001","value":"lead-1"}`, imported, ""},
		{"lead object", `{"map":"phoneToLead","key":"org-1:6045550002","value":{"leadId":"lead-2"}}`, imported, ""},
		{"way back", `{"map":"leadToPhoneMapping","key":"org-1:lead-3","value":"604 555 0003"}`, imported, ""},
		{"organisation", `{"map":"organizationCache","key":"org-1","value":{"name":"D"}}`, imported, ""},
		{"organisation with colon", `{"map":"organization","key":"a:b","value":{"name":"D"}}`, imported, ""},
		{"agent", `{"map":"agentConfig","key":"org-1:sales","value":{"model":"m"}}`, imported, ""},
		{"history", `{"map":"history","key":"org-1:16045550001","value":[]}`, imported, ""},

		{"bare phone", `{"map":"conversationContexts","key":"+16045550001","value":` + hi + `}`, setAside, "no organisation"},
		{"bare scheme", `{"map":"conversationContexts","key":"tel:+16045550001","value":` + hi + `}`, setAside, "no organisation"},
		{"bare lead phone", `{"map":"phoneToLeadMapping","key":"+16045550001","value":"lead-1"}`, setAside, "no organisation"},
		{"empty organisation", `{"map":"conversationContexts","key":":+16045550001","value":` + hi + `}`, setAside, "no organisation"},
		{"undefined", `{"map":"conversationContexts","key":"undefined:+16045550001","value":` + hi + `}`, setAside, "no organisation"},
		{"scheme sms", `{"map":"conversationContexts","key":"sms:+16045550001","value":` + hi + `}`, setAside, "no organisation"},
		{"global", `{"map":"conversationContexts","key":"global:+16045550001","value":` + hi + `}`, setAside, `give "org" and "id"`},
		{"global, explicit id", `{"map":"leadData","key":"global:7","id":"7","value":1}`, setAside, "no organisation"},
		{"global organisation", `{"map":"organizationCache","key":"global","value":{}}`, setAside, "no organisation"},
		{"several colons", `{"map":"leadData","key":"org-9:crm:123","value":1}`, setAside, `"org" and "id"`},
		{"several colons, way back", `{"map":"leadToPhoneMapping","key":"org-9:crm:123","value":"6045550001"}`, setAside, `"org" and "id"`},
		{"local kind", `{"map":"sseResponse","key":"org-1:x","value":1}`, setAside, "stays in the process"},

		{"not JSON", `{"map":`, failed, "not JSON"},
		{"not UTF-8", "{\"map\":\"\xff\"}", failed, "not UTF-8"},
		{"no object", `[1]`, failed, "want {"},
		{"no map", `{"key":"a:b","value":1}`, failed, `"map" is missing`},
		{"no key", `{"map":"leadData","value":1}`, failed, `"key" is missing`},
		{"no value", `{"map":"leadData","key":"a:b"}`, failed, `"value" is missing`},
		{"null", `{"map":"leadData","key":"a:b","value":null}`, failed, `"value" is missing`},
		{"key is a number", `{"map":"leadData","key":1,"value":1}`, failed, `"key" must be a string`},
		{"unknown map", `{"map":"sockets","key":"a:b","value":1}`, failed, "allowed are agentConfig, conversationContexts,"},
		{"no phone", `{"map":"conversationContexts","key":"org-1:hello","value":` + hi + `}`, failed, `phone "hello"`},
		{"no id", `{"map":"leadData","key":"org-1:","value":1}`, failed, "it is empty"},
		{"organisation too long", `{"map":"leadData","key":"` + strings.Repeat("o", 129) + `:1","value":1}`, failed, "129 bytes"},
		{"conversation as object", `{"map":"conversationContexts","key":"org-1:+16045550001","value":{}}`, failed, "array of messages"},
		{"no role", `{"map":"conversationContexts","key":"org-1:+16045550001","value":[{"content":"x"}]}`, failed, `"role"`},
		{"lead is a number", `{"map":"phoneToLeadMapping","key":"org-1:+16045550001","value":7}`, failed, `"leadId"`},
		{"explicit org elsewhere", `{"map":"leadData","key":"a:b","org":"c","value":1}`, failed, `"org"`},
		{"explicit id elsewhere", `{"map":"leadData","key":"a:b","id":"c","value":1}`, failed, `"id"`},
	}
	a := open(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := importText(t, a, tt.line, migrate.ImportOptions{})
			if got := fate(r); got != tt.want {
				t.Fatalf("%s, want %s: %+v", got, tt.want, r)
			}
			if len(r.Problems) > 0 {
				p := r.Problems[0]
				if p.Fate != tt.want || p.Line != 1 || !strings.Contains(p.Reason, tt.reason) {
					t.Errorf("problem %+v, want a reason with %q", p, tt.reason)
				}
				return
			}
			if again := importText(t, a, tt.line, migrate.ImportOptions{}); fate(again) != unchanged || again.Changed() {
				t.Errorf("second import: %+v, want unchanged", again)
			}
		})
	}
}

func TestImportReadsBack(t *testing.T) {
	a, ctx := open(t), t.Context()
	r := importText(t, a, `
{"map":"conversationContexts","key":"org-1:+16045550001","value":[{"role":"user","content":"hi","x":1},{"role":"assistant","content":"hello"}]}
{"map":"conversationContexts","key":"org-1:6045550001","value":[{"role":"user","content":"more"}]}
{"map":"conversationSummaries","key":"org-1:16045550001","value":"wants red"}

{"map":"phoneToLeadMapping","key":"org-1:(604) 555-0001","value":"lead-1"}
`, migrate.ImportOptions{})
	if r.Seen != 4 || r.Imported != 4 || r.Messages != 3 {
		t.Errorf("report %+v", r)
	}
	org := a.Cache.Org("org-1")
	turn, err := a.Turn(ctx, org, "+16045550001", jackcache.ReadOptions{})
	if err != nil || len(turn.Messages) != 3 || turn.Summary != "wants red" || turn.Lead != "lead-1" {
		t.Errorf("turn %+v, %v", turn, err)
	}
	if phone, err := a.PhoneOf(ctx, org, "lead-1"); err != nil || phone != "+16045550001" {
		t.Errorf("PhoneOf: %q, %v", phone, err)
	}
}

func TestImportInputs(t *testing.T) {
	const text = "{\"map\":\"leadData\",\"key\":\"o:1\",\"value\":1}\r\n\r\n \n{\"map\":\"leadData\",\"key\":\"o:2\",\"value\":2}"
	var zipped bytes.Buffer
	zw := gzip.NewWriter(&zipped)
	if _, err := io.WriteString(zw, text); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	for name, in := range map[string]string{
		"plain": text, "gzip": zipped.String(), "byte order mark": "\ufeff" + text,
	} {
		t.Run(name, func(t *testing.T) {
			a := open(t)
			if r := importText(t, a, in, migrate.ImportOptions{}); r.Imported != 2 || r.Failed+r.SetAside != 0 {
				t.Errorf("%+v", r)
			}
		})
	}
	t.Run("empty", func(t *testing.T) {
		if r := importText(t, open(t), "", migrate.ImportOptions{}); r.Seen != 0 || r.Problems == nil {
			t.Errorf("%+v", r)
		}
	})
	t.Run("cut gzip", func(t *testing.T) {
		r, err := migrate.Import(t.Context(), open(t), bytes.NewReader(zipped.Bytes()[:zipped.Len()-4]), migrate.ImportOptions{})
		checkSum(t, r)
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("error %v, want %v", err, io.ErrUnexpectedEOF)
		}
	})
}

func TestImportLongLine(t *testing.T) {
	text := `{"map":"leadData","key":"o:1","value":1}` + "\n" +
		`{"map":"leadData","key":"o:2","value":"` + strings.Repeat("x", 1<<20) + `"}` + "\n" +
		`{"map":"leadData","key":"o:3","value":3}`
	r := importText(t, open(t), text, migrate.ImportOptions{MaxLine: 1 << 10})
	if r.Imported != 2 || r.Failed != 1 || r.Problems[0].Line != 2 {
		t.Errorf("%+v", r)
	}
}

func TestImportKeepsOrderOfAKey(t *testing.T) {
	var text strings.Builder
	const keys, times = 8, 12
	for n := range times {
		for k := range keys {
			fmt.Fprintf(&text, `{"map":"leadData","key":"o:%d","value":%d}`+"\n", k, n)
		}
	}
	a := open(t)
	r := importText(t, a, text.String(), migrate.ImportOptions{Concurrency: 64})
	if r.Imported != keys*times {
		t.Fatalf("%+v", r)
	}
	for k := range keys {
		v, err := a.Kinds.LeadData.Get(t.Context(), a.Cache.Org("o"), fmt.Sprint(k))
		if err != nil || string(v) != fmt.Sprint(times-1) {
			t.Errorf("key %d: %s, %v; want the last value of the input", k, v, err)
		}
	}
}

func TestImportTwoPhonesOfOneLead(t *testing.T) {
	const text = `{"map":"phoneToLeadMapping","key":"o:+16045550001","value":"lead"}
{"map":"phoneToLeadMapping","key":"o:+16045550002","value":"lead"}
`
	a, ctx := open(t), t.Context()
	for n, want := range []migrate.Counts{{Seen: 2, Imported: 2}, {Seen: 2, Unchanged: 2}, {Seen: 2, Unchanged: 2}} {
		if r := importText(t, a, text, migrate.ImportOptions{}); r.Counts != want {
			t.Errorf("import %d: %+v, want %+v", n, r, want)
		}
		if p, err := a.PhoneOf(ctx, a.Cache.Org("o"), "lead"); err != nil || p != "+16045550002" {
			t.Errorf("import %d: PhoneOf %q, %v; want the last of the input", n, p, err)
		}
	}
	// An import that was stopped between the two writes of the second line.
	text2 := strings.ReplaceAll(text, `"o:`, `"q:`)
	first, _, _ := strings.Cut(text2, "\n")
	importText(t, a, first, migrate.ImportOptions{})
	raw, err := a.Cache.RawKind(assistant.PhoneToLeadKind)
	if err != nil {
		t.Fatal(err)
	}
	org := a.Cache.Org("q")
	if _, err := org.ImportValue(ctx, raw, "+16045550002", []byte(`{"leadId":"lead"}`)); err != nil {
		t.Fatal(err)
	}
	if r := importText(t, a, text2, migrate.ImportOptions{}); r.Unchanged != 1 || r.Imported != 1 {
		t.Errorf("%+v, want the missing way back imported", r)
	}
	if p, err := a.PhoneOf(ctx, org, "lead"); err != nil || p != "+16045550002" {
		t.Errorf("PhoneOf %q, %v; want the last of the input", p, err)
	}
}

func TestImportGivesWayToWhatHappenedSince(t *testing.T) {
	const (
		phone = "+16045550001"
		text  = `{"map":"conversationContexts","key":"o:+16045550001","value":[{"id":"1","role":"user","content":"hi","timestamp":1757000010845}]}
{"map":"conversationSummaries","key":"o:+16045550001","value":"old"}
{"map":"phoneToLeadMapping","key":"o:+16045550001","value":"lead"}
`
	)
	a, ctx := open(t), t.Context()
	org := a.Cache.Org("o")
	if r := importText(t, a, text, migrate.ImportOptions{}); r.Imported != 3 {
		t.Fatalf("%+v", r)
	}
	live := jackcache.Message{ID: "2", Role: "user", Content: "live"}
	if _, err := org.Conversation(phone).Append(ctx, live); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Kinds.Summary.Set(ctx, org, phone, assistant.Summary{Text: "new"}); err != nil {
		t.Fatal(err)
	}
	if r := importText(t, a, text, migrate.ImportOptions{}); r.Unchanged != 2 || r.SetAside != 1 {
		t.Errorf("after a live write: %+v, want the old summary set aside", r)
	}
	if _, err := org.Forget(ctx, phone); err != nil {
		t.Fatal(err)
	}
	if r := importText(t, a, text, migrate.ImportOptions{}); r.SetAside != 3 {
		t.Errorf("after Forget: %+v, want all set aside", r)
	}
	if got := exportText(t, a, migrate.ExportOptions{}); got != "" {
		t.Errorf("who was forgotten is back: %s", got)
	}
}

func TestImportMappingOfAForgottenPhone(t *testing.T) {
	a, ctx := open(t), t.Context()
	org := a.Cache.Org("o")
	if _, err := org.Forget(ctx, "+16045550001"); err != nil { // nobody knew a lead
		t.Fatal(err)
	}
	r := importText(t, a, `{"map":"phoneToLeadMapping","key":"o:+16045550001","value":"lead"}`, migrate.ImportOptions{})
	if r.SetAside != 1 {
		t.Errorf("%+v, want set aside", r)
	}
	if _, err := a.Kinds.LeadToPhone.Get(ctx, org, "lead"); !errors.Is(err, jackcache.ErrNotFound) {
		t.Errorf("the way back to a forgotten phone is there: %v", err)
	}
}

func TestImportStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	go func() {
		for n := 0; ; n++ {
			if _, err := fmt.Fprintf(w, `{"map":"leadData","key":"o:%d","value":%d}`+"\n", n, n); err != nil {
				return
			}
			if n == 20 {
				cancel()
			}
		}
	}()
	rep, err := migrate.Import(ctx, open(t), r, migrate.ImportOptions{})
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	checkSum(t, rep)
}

func TestImportDryRun(t *testing.T) {
	const text = `{"map":"conversationContexts","key":"o:+16045550001","value":[{"role":"user","content":"hi"}]}
{"map":"leadData","key":"o:1","value":1}
{"map":"leadData","key":"1","value":1}
{"map":"leadData","key":".:1","value":1}
`
	a := open(t)
	want := migrate.Counts{Seen: 4, Imported: 2, SetAside: 1, Failed: 1, Messages: 1}
	for range 2 {
		if r := importText(t, a, text, migrate.ImportOptions{DryRun: true}); r.Counts != want {
			t.Errorf("%+v, want %+v", r, want)
		}
	}
	if got := exportText(t, a, migrate.ExportOptions{}); got != "" {
		t.Errorf("a dry run wrote %s", got)
	}
	if r := importText(t, a, text, migrate.ImportOptions{}); r.Counts != want {
		t.Errorf("%+v, want %+v", r, want)
	}
	want.Imported, want.Unchanged = 0, 2
	if r := importText(t, a, text, migrate.ImportOptions{DryRun: true}); r.Counts != want {
		t.Errorf("%+v, want %+v", r, want)
	}
}

func TestImportProblems(t *testing.T) {
	var text strings.Builder
	for n := range 300 {
		fmt.Fprintf(&text, `{"map":"phoneToLeadMapping","key":"+1604555%04d","value":"x"}`+"\n", n)
	}
	var last migrate.Progress
	r := importText(t, open(t), text.String(), migrate.ImportOptions{OnProgress: func(p migrate.Progress) { last = p }})
	if r.SetAside != 300 || last.Counts != r.Counts || last.Bytes != int64(text.Len()) {
		t.Errorf("report %+v, last progress %+v", r.Counts, last)
	}
	for i, p := range r.Problems {
		if p.Line != i+1 || p.Key != fmt.Sprintf("+*******%04d", i) {
			t.Fatalf("problem %d: %+v", i, p)
		}
	}
}
