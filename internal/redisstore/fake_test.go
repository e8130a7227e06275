package redisstore

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// fake is a server that answers what no Redis can be made to answer at will.
// Everything else is tested with a real one.
type fake struct {
	l      net.Listener
	answer func(args []string) string // a reply in RESP; empty: OK
	// greeting, if not empty, is all that a new connection gets.
	greeting atomic.Pointer[string]

	mu    sync.Mutex
	conns map[net.Conn]bool // guarded by mu
	done  sync.WaitGroup
}

func startFake(t *testing.T, answer func(args []string) string) *fake {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{l: l, answer: answer, conns: make(map[net.Conn]bool)}
	f.greet("")
	f.done.Go(f.accept)
	t.Cleanup(func() {
		_ = l.Close() // it is not used any more
		f.cut()
		f.done.Wait()
	})
	return f
}

func (f *fake) addr() string { return f.l.Addr().String() }

func (f *fake) greet(text string) { f.greeting.Store(&text) }

// cut ends all connections.
func (f *fake) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.conns {
		_ = c.Close() // the other end sees it
	}
}

func (f *fake) accept() {
	for {
		c, err := f.l.Accept()
		if err != nil {
			return
		}
		f.mu.Lock()
		f.conns[c] = true
		f.mu.Unlock()
		f.done.Go(func() {
			f.serve(c)
			_ = c.Close() // it has ended
			f.mu.Lock()
			defer f.mu.Unlock()
			delete(f.conns, c)
		})
	}
}

func (f *fake) serve(c net.Conn) {
	if text := *f.greeting.Load(); text != "" {
		_, _ = io.WriteString(c, text)
		return
	}
	r := bufio.NewReader(c)
	for {
		args, err := readCommand(r)
		if err != nil {
			return
		}
		if _, err := io.WriteString(c, f.reply(args)); err != nil {
			return
		}
	}
}

func (f *fake) reply(args []string) string {
	if out := f.answer(args); out != "" {
		return out
	}
	switch strings.ToUpper(args[0]) {
	case "HELLO":
		return "%3\r\n+server\r\n+redis\r\n+version\r\n+7.0.0\r\n+proto\r\n:3\r\n"
	case "INFO":
		return bulk("redis_version:7.0.0\r\nrole:master\r\nrun_id:x\r\n")
	case "PING":
		return "+PONG\r\n"
	case "EVALSHA", "EVAL":
		return ":1\r\n"
	case "GET":
		return "_\r\n"
	}
	return "+OK\r\n"
}

func readCommand(r *bufio.Reader) ([]string, error) {
	n, err := readSize(r)
	if err != nil {
		return nil, err
	}
	args := make([]string, n)
	for i := range args {
		size, err := readSize(r)
		if err != nil {
			return nil, err
		}
		b := make([]byte, size+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, err
		}
		args[i] = string(b[:size])
	}
	return args, nil
}

func readSize(r *bufio.Reader) (int, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(line[1:]))
}

func bulk(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }

// row is a row of CLUSTER SLOTS.
func row(low, high int, addr string) string {
	host, port, _ := net.SplitHostPort(addr) // tests pass addresses
	return fmt.Sprintf("*3\r\n:%d\r\n:%d\r\n*2\r\n%s:%s\r\n", low, high, bulk(host), port)
}

// startFakeMember is a member of a Cluster, whose CLUSTER SLOTS and GET are
// answered by slots and get; empty: it has all slots, and no key.
func startFakeMember(t *testing.T, slots, get func() string) *fake {
	t.Helper()
	self := make(chan string, 1)
	f := startFake(t, func(args []string) string {
		switch strings.ToUpper(args[0]) {
		case "CLUSTER":
			if strings.ToUpper(args[1]) != "SLOTS" {
				return bulk("cluster_current_epoch:5\r\n")
			}
			if out := slots(); out != "" {
				return out
			}
			addr := <-self
			self <- addr
			return "*1\r\n" + row(0, slotCount-1, addr)
		case "GET":
			return get()
		}
		return ""
	})
	self <- f.addr()
	return f
}

func nothing() string { return "" }
