package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/httpapi"
)

// syncLoop returns an operation that appends to a file and syncs it.
func (e *environment) syncLoop() (operation, error) {
	f, err := os.Create(filepath.Join(e.dir, "sync"+strconv.Itoa(len(e.closers))))
	if err != nil {
		return nil, err
	}
	e.closers = append(e.closers, func() { _ = f.Close() }) // a file of the bench
	var mu sync.Mutex
	block := make([]byte, 300)
	return func(context.Context, int) error {
		mu.Lock()
		defer mu.Unlock()
		if _, err := f.Write(block); err != nil {
			return err
		}
		return f.Sync()
	}, nil
}

// serve returns the address of a server for h, which ends with the run.
func (e *environment) serve(h http.Handler) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = s.Serve(l) }() // ends with Close
	e.closers = append(e.closers, func() { _ = s.Close() })
	return "http://" + l.Addr().String(), nil
}

var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 128}}

// httpGet returns an operation that reads size bytes from url.
func httpGet(url string, size int) operation {
	return func(ctx context.Context, n int) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return err
		}
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		b, err := io.Copy(io.Discard, res.Body)
		if err == nil && (res.StatusCode != http.StatusOK || int(b) != size) {
			err = fmt.Errorf("%s: status %d, %d bytes", url, res.StatusCode, b)
		}
		return err
	}
}

// http compares GET requests for a value of 5 kB with a handler that writes the
// same bytes from memory.
func (e *environment) http() ([]contest, error) {
	ctx, value := context.Background(), value5k()
	get := func(url string) operation { return httpGet(url, len(value)) }
	plain, err := e.serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Content-Length", strconv.Itoa(len(value)))
		_, _ = w.Write(value) // the client is gone where this fails
	}))
	if err != nil {
		return nil, err
	}
	contenders := []contender{{"plain net/http, bytes from memory", get(plain)}}
	for _, who := range []struct {
		name string
		a    *assistant.Assistant
	}{{"jackcache, embedded store (aim ≥ 0.6)", e.embedded}, {"jackcache, through Redis (aim ≥ 0.45)", e.shared}} {
		org := who.a.Cache.Org("bench")
		if _, err := rawKind.Set(ctx, org, "http", json.RawMessage(value)); err != nil {
			return nil, err
		}
		base, err := e.serve(httpapi.New(who.a, httpapi.Options{Logger: slog.New(slog.DiscardHandler)}))
		if err != nil {
			return nil, err
		}
		contenders = append(contenders, contender{who.name, get(base + "/api/v1/orgs/bench/entries/rawValue/http")})
	}
	return []contest{{name: "HTTP GET of a value of 5 kB", callers: 64, contenders: contenders}}, nil
}

// singles prints what is not a comparison of rates.
func (e *environment) singles() error {
	fmt.Printf("\n| what | value |\n|---|---|\n")
	value := value5k()
	for _, s := range []struct{ name, key string }{
		{"value stored as it is, header included", "jack:dev:rawValue:bench:1"},
		{"value stored as zstd, header included", "jack:dev:zstdValue:bench:1"},
	} {
		n, err := e.plain.Do(context.Background(), e.plain.B().Strlen().Key(s.key).Build()).AsInt64()
		if err != nil {
			return err
		}
		fmt.Printf("| %s, of %d B of JSON | %d B (%.2f) |\n", s.name, len(value), n, float64(n)/float64(len(value)))
	}
	if err := e.growth(); err != nil {
		return err
	}
	return e.frozen()
}

// growth measures the CPU of Redis per append to a conversation with few and
// with many messages, all with fresh ids.
func (e *environment) growth() error {
	const appends = 2000
	measure := func(before int) (float64, error) {
		ctx := context.Background()
		c := e.shared.Cache.Org("growth").Conversation(fmt.Sprintf("+1604555%04d", before))
		for i := 0; i < before; i += 50 {
			msgs := make([]jackcache.Message, 50)
			for j := range msgs {
				msgs[j] = jackcache.Message{ID: fmt.Sprintf("b%d", i+j), Role: "user", Content: "before"}
			}
			if _, err := c.Append(ctx, msgs...); err != nil {
				return 0, err
			}
		}
		start := e.redis.CPU()
		for i := range appends {
			if _, err := c.Append(ctx, jackcache.Message{ID: fmt.Sprintf("a%d", i), Role: "user", Content: conversationText}); err != nil {
				return 0, err
			}
			if i%before == before-1 && before < appends {
				// Keep the small one small.
				if err := c.Clear(ctx); err != nil {
					return 0, err
				}
			}
		}
		return float64((e.redis.CPU() - start).Microseconds()) / appends, nil
	}
	var ratios []float64
	for range 5 {
		small, err := measure(50)
		if err != nil {
			return err
		}
		large, err := measure(5000)
		if err != nil {
			return err
		}
		ratios = append(ratios, large/small)
		fmt.Printf("| CPU of Redis per append after 50 and after 5,000 fresh ids, window 10,000 | %.1f and %.1f µs (%.2f, aim ≤ 1.5) |\n", small, large, large/small)
		if err := e.shared.Cache.Org("growth").Invalidate(context.Background()); err != nil {
			return err
		}
	}
	fmt.Printf("| the median of that ratio | %.2f |\n", median(ratios, func(r float64) float64 { return r }))
	return nil
}

var conversationText = conversation(1, 3)[0].Content
