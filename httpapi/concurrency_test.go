package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/jackcache/jackcache"
)

// TestConcurrentAppends: 32 writers with 100 messages each; all are there once,
// each writer's in its order, and every reader sees one order.
func TestConcurrentAppends(t *testing.T) {
	const writers, each = 32, 100
	f := start(t, jackcache.Options{Conversation: jackcache.ConversationOptions{Window: 4000}}, Options{})
	f.client.Transport.(*http.Transport).MaxIdleConnsPerHost = writers
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				body := fmt.Sprintf(`{"id":"%d-%d","role":"user","content":"x","w":%d,"i":%d}`, w, i, w, i)
				if a := f.do("POST", talk, body); a.status != 201 {
					t.Errorf("append: %d %s", a.status, a.body)
				}
			}
		})
	}
	wg.Wait()
	got := f.messages(talk)
	if got.Count != writers*each {
		t.Fatalf("%d messages, want %d", got.Count, writers*each)
	}
	var next [writers]int
	for _, raw := range got.Messages {
		var m struct{ W, I int }
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Fatal(err)
		}
		if m.I != next[m.W] {
			t.Fatalf("writer %d: message %d where %d was next", m.W, m.I, next[m.W])
		}
		next[m.W]++
	}
}

// TestConcurrentRepetitions: the same 100 messages delivered by 32 writers are
// stored once, and told once to be new.
func TestConcurrentRepetitions(t *testing.T) {
	const writers, each = 32, 100
	f := newFixture(t)
	f.client.Transport.(*http.Transport).MaxIdleConnsPerHost = writers
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		fresh int // guarded by mu
	)
	for range writers {
		wg.Go(func() {
			for i := range each {
				a := f.do("POST", talk, fmt.Sprintf(`{"id":"m%d","role":"user","content":"x"}`, i))
				if a.status != 201 && a.status != 200 || a.status == 201 != strings.Contains(a.body, `"appended":1`) {
					t.Errorf("append: %d %s", a.status, a.body)
				}
				if a.status == 201 {
					mu.Lock()
					fresh++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if got := f.messages(talk); got.Count != each || fresh != each {
		t.Errorf("%d messages, %d told to be new; want %d", got.Count, fresh, each)
	}
}

// TestConcurrentConditions: of many writers with one condition one wins.
func TestConcurrentConditions(t *testing.T) {
	f := newFixture(t)
	for round := range 5 {
		tag := "If-None-Match: *"
		if round > 0 {
			tag = "If-Match: " + f.want(200, "GET", agent, "").header.Get("ETag")
		}
		var (
			wg   sync.WaitGroup
			mu   sync.Mutex
			wins []string // guarded by mu
		)
		for w := range 16 {
			wg.Go(func() {
				a := f.do("PUT", agent, fmt.Sprint(w), tag)
				if a.status != 200 && a.status != 412 {
					t.Errorf("conditional write: %d %s", a.status, a.body)
				}
				if a.status == 200 {
					mu.Lock()
					wins = append(wins, fmt.Sprint(w))
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if len(wins) != 1 {
			t.Fatalf("round %d: %v won", round, wins)
		}
		f.want(200, "GET", agent, "").wantBody(t, wins[0])
	}
}
