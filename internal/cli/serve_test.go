package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// begin starts a server that ends with the test.
func begin(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	p, err := start(dir, []string{"PATH=" + os.Getenv("PATH")}, append([]string{"--addr", "127.0.0.1:0"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

// until asks again and again until the answer is as wanted.
func until(t *testing.T, addr, path string, want func(status int, body string) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		status, body := ask(ctx, addr, path)
		if want(status, body) {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("%s: %d %s", path, status, body)
		}
	}
}

func TestSignals(t *testing.T) {
	notReady := func(status int, body string) bool { return status == 503 && strings.Contains(body, "draining") }
	ended := func(t *testing.T, p *process, want int) {
		t.Helper()
		code, err := p.wait()
		if err != nil || code != want {
			t.Errorf("exit code %d, %v; want %d:\n%s", code, err, want, p.output())
		}
	}
	send := func(t *testing.T, p *process, s syscall.Signal) {
		t.Helper()
		if err := p.cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	t.Parallel()
	t.Run("TERM is told before connections are closed", func(t *testing.T) {
		p := begin(t, t.TempDir(), "--drain-delay", "300ms")
		send(t, p, syscall.SIGTERM)
		until(t, p.addr, "/readyz", notReady)
		ended(t, p, 0)
	})
	t.Run("an interrupt skips the delay", func(t *testing.T) {
		p := begin(t, t.TempDir(), "--drain-delay", "1h")
		send(t, p, syscall.SIGINT)
		ended(t, p, 0)
	})
	t.Run("a second signal ends the delay at once", func(t *testing.T) {
		p := begin(t, t.TempDir(), "--drain-delay", "1h")
		send(t, p, syscall.SIGTERM)
		until(t, p.addr, "/readyz", notReady)
		if status, body := ask(t.Context(), p.addr, "/api/health"); status != 200 {
			t.Errorf("while draining: %d %s; want to be served", status, body)
		}
		send(t, p, syscall.SIGTERM)
		ended(t, p, 1)
	})
	t.Run("a second signal ends waiting for requests at once", func(t *testing.T) {
		p := begin(t, t.TempDir(), "--shutdown-timeout", "1h")
		request(t, p.addr)
		send(t, p, syscall.SIGTERM)
		stopsListening(t, p.addr)
		send(t, p, syscall.SIGTERM)
		ended(t, p, 1)
	})
	t.Run("requests under way are cut in the end", func(t *testing.T) {
		p := begin(t, t.TempDir(), "--shutdown-timeout", "100ms")
		request(t, p.addr)
		send(t, p, syscall.SIGTERM)
		ended(t, p, 0)
		if !strings.Contains(p.output(), "still under way") {
			t.Errorf("log:\n%s", p.output())
		}
	})
}

// request leaves an import under way.
func request(t *testing.T, addr string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	fmt.Fprintf(conn, "POST /api/v1/import HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n")
	answer := make([]byte, 12)
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "HTTP/1.1 100" {
		t.Fatalf("%q, %v", answer, err)
	}
}

func stopsListening(t *testing.T, addr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err != nil {
			break
		}
		_ = conn.Close()
	}
	if err := ctx.Err(); err != nil {
		t.Fatal(err)
	}
}

// The promise: an import that was cut by kill -9, anywhere, and repeated leaves
// what one import leaves.
func TestKilledImportIsRepeated(t *testing.T) {
	t.Parallel()
	input := manyEntries(1500)
	want := importAndExport(t, t.TempDir(), input)
	for _, part := range []int{1, 3, 7} {
		cut := len(input) * part / 8
		t.Run(fmt.Sprintf("server, after %d eighths", part), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			p := begin(t, dir)
			im := program(t, dir, "import", "--server", p.addr, "-")
			feed(t, im, input[:cut])
			stored(t, p.addr)
			p.kill()
			if err := im.Wait(); err == nil || im.ProcessState.ExitCode() != exitFailed {
				t.Errorf("the import ended with %v, want exit code 1", err)
			}
			if got := importAndExport(t, dir, input); got != want {
				t.Errorf("the content differs: %d lines, want %d", strings.Count(got, "\n"), strings.Count(want, "\n"))
			}
		})
	}
	t.Run("without a server", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		withStore(t, dir)
		im := program(t, dir, "import", "-")
		feed(t, im, input[:len(input)/2])
		if err := im.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = im.Wait() // it was killed
		if got := importAndExport(t, dir, input); got != want {
			t.Errorf("the content differs: %d lines, want %d", strings.Count(got, "\n"), strings.Count(want, "\n"))
		}
	})
}

// stored waits until the server has stored something.
func stored(t *testing.T, addr string) {
	t.Helper()
	until(t, addr, keysRoute+"?kind=conversationContext&limit=1", func(_ int, body string) bool {
		return strings.Contains(body, "conversationContexts:")
	})
}

// manyEntries is more than all buffers between an import's input and the store
// hold.
func manyEntries(n int) []byte {
	var b bytes.Buffer
	padding := strings.Repeat("and so on ", 100)
	for i := range n {
		phone := fmt.Sprintf("+1604%07d", 5550000+i/2)
		if i%2 == 1 {
			fmt.Fprintf(&b, `{"map":"phoneToLeadMapping","key":"org-%d:%s","value":"lead-%d"}`+"\n", i%7, phone, i)
			continue
		}
		fmt.Fprintf(&b, `{"map":"conversationContexts","key":"org-%d:%s","value":[`, i%7, phone)
		for m := range 1 + i%5 {
			if m > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `{"role":"user","content":"message %d of %d %s","timestamp":%d}`, m, i, padding, 1757000000000+int64(i*1000+m))
		}
		b.WriteString("]}\n")
	}
	return b.Bytes()
}

// program is a command of the program; its standard error is the test's.
func program(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath("jackcache")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.Env = dir, []string{"PATH=" + os.Getenv("PATH"), "JACKCACHE_ADDR=" + nobody, quickEnd}
	return cmd
}

// feed starts a command and gives it all of data, and no end.
func feed(t *testing.T, cmd *exec.Cmd, data []byte) {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close() })
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write(data); err != nil {
		t.Fatal(err)
	}
}

// withStore makes a store in dir if there is none: a command does not while
// JACKCACHE_ADDR names a server.
func withStore(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, "jackcache-data", "embedded.db")); err == nil {
		return
	}
	if code, err := begin(t, dir).end(syscall.SIGTERM); err != nil || code != exitDone {
		t.Fatalf("serve ended with %d, %v", code, err)
	}
}

func importAndExport(t *testing.T, dir string, input []byte) string {
	t.Helper()
	withStore(t, dir)
	im := program(t, dir, "import", "-")
	im.Stdin = bytes.NewReader(input)
	if out, err := im.CombinedOutput(); err != nil {
		t.Fatalf("import: %v\n%s", err, out)
	}
	ex := program(t, dir, "export", "-o", "out.ndjson")
	if out, err := ex.CombinedOutput(); err != nil {
		t.Fatalf("export: %v\n%s", err, out)
	}
	data, err := os.ReadFile(filepath.Join(dir, "out.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	return sortedLines(string(data))
}

// TestLoopbackHosts: without a token a server on loopback refuses other names,
// which a web page could have made to point there.
func TestLoopbackHosts(t *testing.T) {
	t.Parallel()
	get := func(addr string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/api/health", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "evil.example"
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	if status := get(begin(t, t.TempDir()).addr); status != 403 {
		t.Errorf("without a token: %d", status)
	}
	p, err := start(t.TempDir(), []string{"PATH=" + os.Getenv("PATH"), "JACKCACHE_API_TOKEN=x"}, "--addr", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	if status := get(p.addr); status != 200 {
		t.Errorf("with a token: %d", status)
	}
}
