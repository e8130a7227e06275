package migrate_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/internal/redistest"
	"github.com/jackcache/jackcache/migrate"
)

func leads(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"map":"phoneToLeadMapping","key":"o:+1604%07d","value":"lead-%d"}`+"\n", i, i)
	}
	return b.String()
}

// Entries wait for a store that comes back, and are imported then.
func TestImportWaitsForTheStore(t *testing.T) {
	server := redistest.Start(t)
	a := openWith(t, jackcache.Options{Redis: &jackcache.RedisOptions{Addrs: []string{server.Addr()}}})
	const n = 400
	text := leads(n)
	r, w := io.Pipe()
	go func() {
		half := len(text) / 2
		_, _ = io.WriteString(w, text[:half]) // the import reads to the end
		server.Freeze()
		time.AfterFunc(300*time.Millisecond, server.Thaw)
		_, _ = io.WriteString(w, text[half:])
		_ = w.Close() // of a pipe: never fails
	}()
	rep, err := migrate.Import(t.Context(), a, r, migrate.ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	checkSum(t, rep)
	if rep.Failed+rep.SetAside != 0 || rep.Seen != n {
		t.Errorf("%+v, want all stored", rep.Counts)
	}
	if got := strings.Count(exportText(t, a, migrate.ExportOptions{}), "\n"); got != n {
		t.Errorf("%d entries are stored, want %d", got, n)
	}
}

// Where the store stays away the import comes to its end, and says why.
func TestImportWithoutAStore(t *testing.T) {
	port, err := redistest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	a := openWith(t, jackcache.Options{Redis: &jackcache.RedisOptions{Addrs: []string{fmt.Sprintf("127.0.0.1:%d", port)}}})
	const waits = 200 * time.Millisecond
	for _, wait := range []time.Duration{-1, waits} {
		start := time.Now()
		r := importText(t, a, leads(1000), migrate.ImportOptions{RetryFor: wait, Concurrency: 4})
		if r.Failed != 1000 || r.Problems[0].Reason != "the store is unavailable: import the entry again" {
			t.Errorf("retry for %v: %+v", wait, r.Counts)
		}
		if took := time.Since(start); took < wait || took > 10*time.Second {
			t.Errorf("retry for %v: took %v", wait, took)
		}
	}
	if _, err := migrate.Export(t.Context(), a, io.Discard, migrate.ExportOptions{RetryFor: -1}); err == nil {
		t.Error("an export without a store wants an error")
	}
}

// Two stores that got the same entries export the same lines.
func TestExportsOfBothStoresAreEqual(t *testing.T) {
	server := redistest.Start(t)
	a, b := open(t), openWith(t, jackcache.Options{Redis: &jackcache.RedisOptions{Addrs: []string{server.Addr()}}})
	fill(t, a)
	first := exportText(t, a, migrate.ExportOptions{})
	for _, want := range []string{imported, unchanged} {
		r := importText(t, b, first, migrate.ImportOptions{})
		if want == imported && r.Imported != r.Seen || want == unchanged && r.Unchanged != r.Seen {
			t.Fatalf("%+v, want all %s", r.Counts, want)
		}
	}
	if second := exportText(t, b, migrate.ExportOptions{}); second != first {
		t.Errorf("exports differ:\n%s\n%s", first, second)
	}
}
