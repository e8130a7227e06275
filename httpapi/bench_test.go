package httpapi

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
)

const (
	benchPath = "/api/v1/orgs/org-123/entries/agentConfig/sales"
	asIsPath  = "/api/v1/orgs/org-123/entries/asIs/sales"
)

// benchValue is JSON of about 5 kB with the repetitions that JSON has.
func benchValue() []byte {
	var b bytes.Buffer
	b.WriteString(`{"fields":[`)
	for i := range 74 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"name":"field-%d","value":"%x","required":%v,"order":%d}`, i, i*7919*104729, i%2 == 0, i)
	}
	b.WriteString(`]}`)
	return b.Bytes()
}

func plain(value []byte) http.Handler {
	length := strconv.Itoa(len(value))
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", length)
		_, _ = w.Write(value)
	})
}

// BenchmarkPlain is the control: the same bytes from memory.
func BenchmarkPlain(b *testing.B) {
	bench(b, plain(benchValue()), benchPath)
}

// BenchmarkEntryGet reads a value of 5 kB from the embedded store.
func BenchmarkEntryGet(b *testing.B) {
	f := newFixture(b)
	f.want(200, "PUT", benchPath, string(benchValue()))
	bench(b, f.s, benchPath)
}

// BenchmarkEntryGetAsIs reads one that is stored without compression.
func BenchmarkEntryGetAsIs(b *testing.B) {
	kind := jackcache.NewKind[json.RawMessage](jackcache.KindOptions{Name: "asIs", TTL: time.Hour, CompressAbove: -1})
	f := start(b, jackcache.Options{Kinds: []jackcache.AnyKind{kind}}, Options{})
	f.want(200, "PUT", asIsPath, string(benchValue()))
	bench(b, f.s, asIsPath)
}

func bench(b *testing.B, h http.Handler, path string) {
	b.Run("handler", func(b *testing.B) { benchHandler(b, h, path) })
	b.Run("loopback", func(b *testing.B) { benchLoopback(b, h, path) })
}

// sink is a ResponseWriter that keeps nothing.
type sink struct {
	header http.Header
	status int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) Write(b []byte) (int, error) { return len(b), nil }
func (s *sink) WriteHeader(status int)      { s.status = status }

func benchHandler(b *testing.B, h http.Handler, path string) {
	req := httptest.NewRequest("GET", path, nil)
	b.ReportAllocs()
	for b.Loop() {
		w := &sink{header: make(http.Header)}
		h.ServeHTTP(w, req)
		if w.status > 200 {
			b.Fatal(w.status)
		}
	}
}

// benchLoopback asks over real connections, with a client that costs little.
func benchLoopback(b *testing.B, h http.Handler, path string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	srv := NewHTTPServer(h)
	go func() { _ = srv.Serve(l) }() // ends with Close
	defer srv.Close()
	request := []byte("GET " + path + " HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nAccept-Encoding: identity\r\n\r\n")
	b.ReportAllocs()
	b.SetParallelism(8)
	before := cpuTime(b)
	b.RunParallel(func(pb *testing.PB) {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Error(err)
			return
		}
		defer conn.Close()
		r := bufio.NewReaderSize(conn, 16<<10)
		for pb.Next() {
			if err := ask(conn, r, request); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
}

// cpuTime is what this process took until now, the client of a benchmark
// included. It depends less on what else the machine does than the time.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func ask(conn net.Conn, r *bufio.Reader, request []byte) error {
	if _, err := conn.Write(request); err != nil {
		return err
	}
	length := -1
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		number, ok := bytes.CutPrefix(line, contentLength)
		switch {
		case first && !bytes.Contains(line, []byte(" 200 ")):
			return fmt.Errorf("answer %q", line)
		case ok:
			if length, err = strconv.Atoi(string(bytes.TrimSpace(number))); err != nil {
				return err
			}
		case len(line) == 2:
			_, err := r.Discard(length)
			return err
		}
	}
}

var contentLength = []byte("Content-Length: ")

// BenchmarkAppend appends one message over loopback with many callers, each of
// which waits for the disk.
func BenchmarkAppend(b *testing.B) {
	f := start(b, jackcache.Options{}, Options{})
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			f.want(201, "POST", "/api/v1/orgs/o/conversations/+16045550000/messages", `{"role":"user","content":"hello there"}`)
		}
	})
}
