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
	contenders := []contender{{name: "plain net/http, bytes from memory", run: get(plain)}}
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
		contenders = append(contenders, contender{name: who.name, run: get(base + "/api/v1/orgs/bench/entries/rawValue/http")})
	}
	return []contest{{name: "HTTP GET of a value of 5 kB", callers: 64, contenders: contenders}}, nil
}
