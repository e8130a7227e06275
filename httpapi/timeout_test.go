package httpapi

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/migrate"
)

// hurried is a fixture whose server gives requests little time to arrive, and answers
// some.
func hurried(t *testing.T, read, write time.Duration) *fixture {
	s := New(openAssistant(t, jackcache.Options{}), Options{Logger: slog.New(slog.DiscardHandler)})
	srv := httptest.NewUnstartedServer(s)
	srv.Config = NewHTTPServer(s)
	srv.Config.ReadTimeout, srv.Config.WriteTimeout = read, write
	srv.Start()
	t.Cleanup(srv.Close)
	return &fixture{t: t, a: s.a, s: s, url: srv.URL, client: srv.Client()}
}

func TestServerLimits(t *testing.T) {
	srv := NewHTTPServer(http.NotFoundHandler())
	if srv.ReadHeaderTimeout != ReadHeaderTimeout || srv.ReadTimeout == 0 || srv.WriteTimeout == 0 || srv.IdleTimeout == 0 || srv.MaxHeaderBytes != MaxHeaderBytes {
		t.Errorf("a limit is missing: %+v", srv)
	}
}

// TestSlowBody: a body that does not arrive is not waited for.
func TestSlowBody(t *testing.T) {
	f := hurried(t, 100*time.Millisecond, time.Minute)
	a := f.raw(t, "PUT "+agent+" HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n1")
	if a.status != 408 || a.problem(t).Type != "/problems/slow-body" {
		t.Errorf("a slow body: %d %s", a.status, a.body)
	}
	f.wantEmpty()
}

// TestCutBody: nothing is stored of a body that ends early, and an import tells
// what it did.
func TestCutBody(t *testing.T) {
	f := newFixture(t)
	cut := func(path, body string, length int) answer {
		conn, err := net.Dial("tcp", f.url[len("http://"):])
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", path, length, body)
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		return readAnswer(t, conn)
	}
	if a := cut(talk, theHello, len(theHello)+1); a.status != 400 && a.status != 499 {
		t.Errorf("a body that was cut: %d %s", a.status, a.body)
	}
	f.wantEmpty()
	line := `{"map":"agentConfig","key":"org-0:a","value":1}` + "\n"
	if a := cut("/api/v1/import", line+`{"map`, 1000); a.status != 400 && a.status != 499 {
		t.Errorf("an import that was cut: %d %s", a.status, a.body)
	}
}

// TestLongImport: an import takes as long as it takes, while lines arrive.
func TestLongImport(t *testing.T) {
	t.Parallel()                         // it takes a while
	const limit = 500 * time.Millisecond // for the handler to begin
	f := hurried(t, limit, 2*limit)
	r, w := io.Pipe()
	go func() {
		tick := time.NewTicker(limit / 2)
		defer tick.Stop()
		for i := range 10 {
			<-tick.C
			fmt.Fprintf(w, `{"map":"agentConfig","key":"org-0:a%d","value":1}`+"\n", i)
		}
		_ = w.Close()
	}()
	var report migrate.Report
	a := f.stream("POST", "/api/v1/import", r)
	if a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if a.decode(t, &report); report.Imported != 10 {
		t.Errorf("report %+v", report)
	}
}
