package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidwall/gjson"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/internal/redistest"
)

// startTime bounds the start of a process, the reading of its journal included.
const startTime = 30 * time.Second

// process is the real binary on a port of its own.
type process struct {
	binary, dir, data string
	env               []string
	addr              string
	client            *http.Client
	lives             atomic.Uint32

	mu   sync.Mutex
	cmd  *exec.Cmd       // guarded by mu: nil while it does not run
	done <-chan struct{} // guarded by mu
}

// newProcess prepares a process with its files below dir and its data directory
// at data.
func newProcess(binary, dir, data string, env []string) (*process, error) {
	port, err := redistest.FreePort()
	if err != nil {
		return nil, err
	}
	return &process{
		binary: binary, dir: dir, data: data, env: env,
		addr:   net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}, Timeout: callTime},
	}, errors.Join(os.MkdirAll(dir, 0o755), os.MkdirAll(data, 0o755))
}

func (p *process) life() uint16 { return uint16(p.lives.Load()) }

// settings are those that a run wants: windows that nothing falls out of.
func (p *process) settings() []string {
	return append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir,
		"JACKCACHE_ADDR=" + p.addr, "JACKCACHE_DATA_DIR=" + p.data, "JACKCACHE_WINDOW=" + strconv.Itoa(window),
		"JACKCACHE_LOG_FORMAT=text",
	}, p.env...)
}

func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		return nil
	}
	log, err := os.OpenFile(p.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // nothing was written here
	cmd := exec.Command(p.binary, "serve")
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = p.dir, p.settings(), log, log
	p.lives.Add(1)
	done, err := redistest.Spawn(cmd)
	if err != nil {
		return fmt.Errorf("start jackcache: %w", err)
	}
	p.cmd, p.done = cmd, done
	return p.awaitLocked()
}

// awaitLocked waits until it serves.
func (p *process) awaitLocked() error {
	deadline := time.Now().Add(startTime)
	for time.Now().Before(deadline) {
		select {
		case <-p.done:
			p.cmd = nil
			return fmt.Errorf("jackcache ended at its start:\n%s", p.logTail())
		case <-time.After(5 * time.Millisecond):
		}
		if status, _, err := p.call(context.Background(), http.MethodGet, "/livez", nil); err == nil && status == http.StatusOK {
			return nil
		}
	}
	return fmt.Errorf("jackcache on %s does not serve after %v:\n%s", p.addr, startTime, p.logTail())
}

func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill() // fails only when it has ended
	<-p.done
	p.cmd = nil
}

func (p *process) close() {
	p.kill()
	p.client.CloseIdleConnections()
}

func (p *process) logPath() string { return filepath.Join(p.dir, "jackcache.log") }

func (p *process) logTail() []byte {
	b, err := os.ReadFile(p.logPath())
	if err != nil {
		return []byte(err.Error())
	}
	return b[max(0, len(b)-2000):]
}

// call sends a request and returns the whole answer.
func (p *process) call(ctx context.Context, method, path string, body []byte) (status int, answer []byte, err error) {
	res, answer, err := p.exchange(ctx, method, path, body)
	if err != nil {
		return 0, nil, err
	}
	return res.StatusCode, answer, nil
}

// exchange makes a call and reads its answer, of which the body is closed.
func (p *process) exchange(ctx context.Context, method, path string, body []byte) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+p.addr+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	if body != nil {
		req.Header["Content-Type"] = []string{"application/json"}
	}
	res, err := p.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = res.Body.Close() }() // it was read to its end, or failed
	answer, err := io.ReadAll(res.Body)
	return res, answer, err
}

func (p *process) write(ctx context.Context, k *key, o op) (outcome, error) {
	method, path, body := k.request(o)
	status, answer, err := p.call(ctx, method, path, body)
	if err != nil {
		if dial := (*net.OpError)(nil); errors.As(err, &dial) && dial.Op == "dial" {
			return refused, nil // nobody was there to hear it
		}
		return unknown, nil
	}
	return judge(status, answer)
}

// judge tells what an answer says. An error is an answer that no fault excuses.
func judge(status int, answer []byte) (outcome, error) {
	switch {
	case status == http.StatusAccepted, status < 300 && bytes.Contains(answer, []byte(`"pending":true`)):
		return pending, nil
	case status < 300, bytes.Contains(answer, []byte("/problems/unseen")): // done all the same
		return shared, nil
	case bytes.Contains(answer, []byte("/problems/outcome-unknown")), status == http.StatusRequestTimeout:
		return unknown, nil
	case status == http.StatusServiceUnavailable, status == http.StatusInsufficientStorage:
		return refused, nil
	case status == http.StatusInternalServerError:
		return unknown, fmt.Errorf("status %d: %s", status, answer)
	}
	return refused, fmt.Errorf("status %d: %s", status, answer)
}

// request is a write as HTTP has it.
func (k *key) request(o op) (method, path string, body []byte) {
	org := "/api/v1/orgs/" + k.org
	switch o.verb {
	case appends:
		return http.MethodPost, k.path(), k.messages(o)
	case replaces:
		return http.MethodPut, k.path(), k.messages(o)
	case clears, deletes:
		return http.MethodDelete, k.path(), nil
	case invalidates:
		return http.MethodPost, org + "/invalidate", nil
	case forgets:
		return http.MethodDelete, org + "/conversations/" + k.name(), nil
	}
	return http.MethodPut, k.path(), k.value(o.first)
}

// path is that of the key's conversation or value.
func (k *key) path() string {
	org := "/api/v1/orgs/" + k.org
	switch k.form {
	case conversation:
		return org + "/conversations/" + k.name() + "/messages"
	case summary:
		return org + "/conversations/" + k.name() + "/summary"
	}
	return org + "/entries/agentConfig/" + k.name()
}

// messages are those of an append or a replace, as JSON.
func (k *key) messages(o op) []byte {
	b := make([]byte, 0, 160*int(o.count))
	b = append(b, '[')
	for i := range uint32(o.count) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, `{"id":"`...), k.text(o.first+i)...)
		b = append(append(b, `","role":"user","content":"`...), content...)
		b = append(b, `"}`...)
	}
	return append(b, ']')
}

func (k *key) value(n uint32) []byte {
	return []byte(`{"text":"` + k.text(n) + `","is":"` + content + `"}`)
}

func (p *process) read(ctx context.Context, k *key, last int) seen {
	path := k.path()
	if last > 0 {
		path += "?last=" + strconv.Itoa(last)
	}
	res, answer, err := p.exchange(ctx, http.MethodGet, path, nil)
	switch {
	case err == nil && res.StatusCode == http.StatusNotFound:
		return seen{}
	case err != nil || res.StatusCode != http.StatusOK:
		return seen{refused: true}
	case k.form != conversation:
		source := res.Header.Get("Cache-Status")
		return seen{
			found: true, numbers: []uint32{k.number(gjson.GetBytes(answer, "text").Str)},
			partial: strings.Contains(source, jackcache.SourcePending.String()) || strings.Contains(source, jackcache.SourceStale.String()),
		}
	}
	s := seen{partial: !gjson.GetBytes(answer, "complete").Bool()}
	gjson.GetBytes(answer, "messages").ForEach(func(_, m gjson.Result) bool {
		s.numbers = append(s.numbers, k.number(m.Get("id").Str))
		return true
	})
	return s
}

func (p *process) health(ctx context.Context) health {
	status, answer, err := p.call(ctx, http.MethodGet, "/api/health", nil)
	if err != nil || status != http.StatusOK {
		return health{pending: -1, replayed: -1}
	}
	h := health{reached: true, status: gjson.GetBytes(answer, "status").Str, pending: -1, replayed: -1}
	h.store = gjson.GetBytes(answer, "store.state").Str
	for _, text := range gjson.GetBytes(answer, "problems").Array() {
		h.problems = append(h.problems, text.Str)
	}
	if j := gjson.GetBytes(answer, "journal"); j.Exists() {
		h.pending, h.replayed = j.Get("pending").Int(), j.Get("replayed").Int()
		h.restoring = j.Get("restoring").Int()
		h.setAside, h.expired = j.Get("setAside").Int(), j.Get("expired").Int()
	}
	return h
}
