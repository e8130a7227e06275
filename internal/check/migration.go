package check

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/migrate"
)

// importPatience is how long an import waits for a store that is away.
const importPatience = 5 * time.Second

// migration imports entries of the maps that this product replaces, twice.
func (s *session) migration(ctx context.Context) (string, error) {
	org := s.org("migration")
	entries := fmt.Sprintf(`{"map":"conversationContexts","key":"%[1]s:+16045550101","value":[{"role":"user","content":"one"},{"role":"assistant","content":"two"},{"role":"user","content":"three"}]}
{"map":"conversationSummaries","key":"%[1]s:16045550101","value":"wants a red one"}
{"map":"phoneToLeadMapping","key":"%[1]s:+16045550101","value":"lead-7"}
{"map":"organizationCache","key":"%[1]s","value":{"name":"Check Motors"}}
`, org)
	s.step("import")
	first, err := s.imports(ctx, entries)
	if err != nil {
		return "", err
	}
	if first.Imported != 4 {
		return "", wrong(strangers, "%d of 4 entries were imported, %d were there before", first.Imported, first.Unchanged)
	}
	s.step("import again")
	second, err := s.imports(ctx, entries)
	if err != nil {
		return "", err
	}
	if second.Changed() || second.Unchanged != 4 {
		return "", wrong(strangers, "a second import changed %d of 4 entries, want none", second.Imported)
	}
	s.step("read what was imported")
	if err := s.imported(ctx); err != nil {
		return "", err
	}
	return "a conversation, a summary, a lead, organisation data; a second import changes nothing" + s.seen(), nil
}

func (s *session) imports(ctx context.Context, entries string) (migrate.Report, error) {
	r, err := migrate.Import(ctx, s.a, strings.NewReader(entries), migrate.ImportOptions{RetryFor: importPatience})
	if err != nil {
		return r, doing("import", err)
	}
	if r.Failed+r.SetAside > 0 {
		p := r.Problems[0]
		return r, fmt.Errorf("import: %d of %d entries failed; the first, of %s: %s", r.Failed+r.SetAside, r.Seen, p.Map, p.Reason)
	}
	return r, nil
}

func (s *session) imported(ctx context.Context) error {
	_, org := s.both("migration")
	turn, err := s.b.Turn(ctx, org, "+16045550101", jackcache.ReadOptions{})
	if err != nil {
		return doing("read", err)
	}
	data, err := s.b.Kinds.Organization.Get(ctx, org, "")
	if err != nil {
		return doing("get organisation data", err)
	}
	var words []string
	for _, m := range turn.Messages {
		words = append(words, m.Content)
	}
	var o struct{ Name string }
	if err := json.Unmarshal(data, &o); err != nil {
		return doing("organisation data", err)
	}
	got := fmt.Sprintf("%v, %q, %q, %q", words, turn.Summary, turn.Lead, o.Name)
	if want := `[one two three], "wants a red one", "lead-7", "Check Motors"`; got != want {
		return wrong(strangers, "what was imported reads %s, want %s", got, want)
	}
	return nil
}
