package migrate_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"strings"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/migrate"
)

func Example() {
	dir, err := os.MkdirTemp("", "jackcache")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	a, err := assistant.Open(ctx, jackcache.Options{DataDir: dir, Logger: slog.New(slog.DiscardHandler)}, assistant.TTLs{})
	if err != nil {
		log.Fatal(err)
	}
	defer a.Close(ctx)

	old := `{"map":"conversationContexts","key":"org-123:6049085474","value":[{"id":"1","role":"user","content":"hi"}]}
{"map":"phoneToLeadMapping","key":"org-123:+16049085474","value":"lead-7"}
{"map":"phoneToLeadMapping","key":"+16049085475","value":"lead-8"}
`
	for range 2 {
		r, err := migrate.Import(ctx, a, strings.NewReader(old), migrate.ImportOptions{})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(r.Imported, "imported,", r.Unchanged, "unchanged,", r.SetAside, "set aside:", r.Problems[0].Reason)
	}
	if _, err := migrate.Export(ctx, a, os.Stdout, migrate.ExportOptions{}); err != nil {
		log.Fatal(err)
	}
	// Output:
	// 2 imported, 0 unchanged, 1 set aside: the entry has no organisation: give "org" and "id"
	// 0 imported, 2 unchanged, 1 set aside: the entry has no organisation: give "org" and "id"
	// {"map":"conversationContexts","key":"org-123:+16049085474","value":[{"id":"1","role":"user","content":"hi"}]}
	// {"map":"phoneToLeadMapping","key":"org-123:+16049085474","value":"lead-7"}
}
