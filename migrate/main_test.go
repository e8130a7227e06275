package migrate_test

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/migrate"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// open opens an assistant on an embedded store of its own.
func open(t testing.TB) *assistant.Assistant {
	t.Helper()
	return openWith(t, jackcache.Options{Directory: true})
}

func openWith(t testing.TB, o jackcache.Options) *assistant.Assistant {
	t.Helper()
	o.DataDir, o.Logger = t.TempDir(), slog.New(slog.DiscardHandler)
	a, err := assistant.Open(t.Context(), o, assistant.TTLs{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return a
}

func importText(t testing.TB, a *assistant.Assistant, text string, o migrate.ImportOptions) migrate.Report {
	t.Helper()
	r, err := migrate.Import(t.Context(), a, strings.NewReader(text), o)
	if err != nil {
		t.Fatalf("Import: %v", err)
	}
	checkSum(t, r)
	return r
}

func checkSum(t testing.TB, r migrate.Report) {
	t.Helper()
	if sum := r.Imported + r.Unchanged + r.SetAside + r.Failed; r.Seen != sum {
		t.Fatalf("seen %d, but imported+unchanged+setAside+failed = %d: %+v", r.Seen, sum, r)
	}
	if want := min(r.SetAside+r.Failed, migrate.DefaultMaxProblems); len(r.Problems) != want {
		t.Fatalf("%d problems, want %d: %+v", len(r.Problems), want, r)
	}
}

func exportText(t testing.TB, a *assistant.Assistant, o migrate.ExportOptions) string {
	t.Helper()
	var out bytes.Buffer
	if _, err := migrate.Export(t.Context(), a, &out, o); err != nil {
		t.Fatalf("Export: %v", err)
	}
	return sorted(out.String())
}

func sorted(text string) string {
	lines := strings.SplitAfter(text, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "")
}
