package httpapi

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackcache/jackcache"
)

// TestHostileOrgs: every id that is accepted is an organisation of its own, and
// one that is refused leaves nothing.
func TestHostileOrgs(t *testing.T) {
	f := newFixture(t)
	accepted := []string{
		"a:b", "a", "b", "*", "?", "{x}", "{a:b}", "[a]", "a/b", "a%2Fb", "a%b", "a b", " a", "a ", "...", "😀", "é", "e\u0301", "global", "GLOBAL",
		"+16045550000", "16045550000", "__gen", "jack:dev:agentConfig:a", "a:b:c", "a\\b", `"`, "<script>", "null", "undefined",
		"%00", "~", "a#b", "a?b", strings.Repeat("x", 128), "__proto__", "a;b", "a&b=c",
	}
	path := func(org, rest string) string { return "/api/v1/orgs/" + url.PathEscape(org) + rest }
	for i, org := range accepted {
		f.want(200, "PUT", path(org, "/entries/agentConfig/b"), fmt.Sprintf("%d", i))
		f.want(201, "POST", path(org, "/conversations/+16045550000/messages"), fmt.Sprintf(`{"id":"m%d","role":"user","content":"x"}`, i))
		f.want(200, "PUT", path(org, "/phone-leads/+16045550000"), fmt.Sprintf(`{"leadId":"L%d"}`, i))
	}
	for i, org := range accepted {
		f.want(200, "GET", path(org, "/entries/agentConfig/b"), "").wantBody(t, fmt.Sprint(i))
		f.want(200, "GET", path(org, "/phone-leads/+16045550000"), "").wantBody(t, fmt.Sprintf(`{"leadId":"L%d"}`, i))
		if got := f.messages(path(org, "/conversations/+16045550000/messages")); got.Count != 1 || string(got.Messages[0]) != fmt.Sprintf(`{"id":"m%d","role":"user","content":"x"}`, i) {
			t.Errorf("%q reads %+v", org, got)
		}
		var l listing
		f.want(200, "GET", path(org, "/conversations"), "").decode(t, &l)
		if len(l.Conversations) != 1 {
			t.Errorf("%q lists %+v", org, l)
		}
	}
	// One after the other is invalidated; the others stay.
	for i, org := range accepted {
		f.want(200, "POST", path(org, "/invalidate"), "")
		f.want(404, "GET", path(org, "/entries/agentConfig/b"), "")
		for _, other := range accepted[i+1:] {
			f.want(200, "GET", path(other, "/entries/agentConfig/b"), "")
		}
	}

	f = newFixture(t)
	for _, segment := range []string{
		"", ".", "..", "%2e%2e", "%2E", "%00", "a%00b", "%0A", "%7F", "%C2%85", "%FF", "a%FFb", "%ED%A0%80",
		strings.Repeat("x", 129), strings.Repeat("x", 10<<10), strings.Repeat("%41", 200),
	} {
		p := f.rawPath(t, "PUT", "/api/v1/orgs/"+segment+"/entries/agentConfig/b", "1")
		if p.status != 400 || p.problem(t).Type != "/problems/invalid" || len(p.body) > 1024 {
			t.Errorf("%.40q: %d %.300s", segment, p.status, p.body)
		}
		p = f.rawPath(t, "POST", "/api/v1/orgs/"+segment+"/conversations/+16045550000/messages", theHello)
		if p.status != 400 {
			t.Errorf("%.40q: %d %.300s", segment, p.status, p.body)
		}
	}
	f.wantEmpty()
}

// wantEmpty checks that nothing at all is stored.
func (f *fixture) wantEmpty() {
	f.t.Helper()
	for name := range f.a.Cache.Kinds() {
		if f.a.Cache.Kinds()[name].LocalOnly {
			continue
		}
		if l, err := f.a.Cache.List(f.t.Context(), jackcache.ListQuery{Kind: name}); err != nil || len(l.Entries) > 0 {
			f.t.Errorf("of %s there is %+v, %v", name, l.Entries, err)
		}
	}
	l, err := f.a.Cache.List(f.t.Context(), jackcache.ListQuery{Kind: jackcache.ConversationKind})
	if err != nil || len(l.Entries) > 0 {
		f.t.Errorf("there are conversations: %+v, %v", l.Entries, err)
	}
}

// rawPath sends a path as it is, on a connection of its own.
func (f *fixture) rawPath(t *testing.T, method, path, body string) answer {
	t.Helper()
	return f.raw(t, fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", method, path, len(body), body))
}

func (f *fixture) raw(t *testing.T, request string) answer {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() { _, _ = io.WriteString(conn, request) }() // the server may answer before it has read all
	return readAnswer(t, conn)
}

func readAnswer(t *testing.T, conn net.Conn) answer {
	t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{status: res.StatusCode, header: res.Header, body: string(got)}
}

// TestRawPaths: no path is taken for another one.
func TestRawPaths(t *testing.T) {
	f := newFixture(t)
	f.want(200, "PUT", "/api/v1/orgs/secret/entries/agentConfig/x", `"secret"`)
	for _, path := range []string{
		"/api/v1/orgs/o/../secret/entries/agentConfig/x", "/api/v1/orgs/o/./entries/agentConfig/x", "//api/v1/orgs/secret/entries/agentConfig/x",
		"/api/v1//orgs/secret/entries/agentConfig/x", "/api/v1/orgs/secret/entries/agentConfig/x/", "/../api/v1/orgs/secret/entries/agentConfig/x",
		"/api/v1/orgs/secret/entries/agentConfig/..", "/api/v1/orgs/secret/entries/agentConfig/", "/api/v1/orgs/secret/entries//x",
		"http://x/api/v1/orgs/o/../secret/entries/agentConfig/x", "/api/v1/orgs/%2e%2e/entries/agentConfig/x",
		"/api/v1/orgs/secret/entries/agentConfig/%2e%2e%2fx%00",
	} {
		if a := f.rawPath(t, "GET", path, ""); a.status != 400 || strings.Contains(a.body, "secret") {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	for _, path := range []string{
		"/api/v1/orgs/o%2F..%2Fsecret/entries/agentConfig/x", "/api/v1/orgs/secret%2Fentries/agentConfig/x", "/api/v1/orgs/Secret/entries/agentConfig/x",
		"/api/v1/orgs/secret/entries/agentConfig%2Fx", "/API/v1/orgs/secret/entries/agentConfig/x",
	} {
		if a := f.rawPath(t, "GET", path, ""); a.status != 404 && a.status != 400 {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	for _, request := range []string{
		"GET /api/v1/orgs/\x00/conversations HTTP/1.1\r\nHost: x\r\n\r\n", "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET * HTTP/1.1\r\nHost: x\r\n\r\n", "CONNECT /api/v1/orgs/../x HTTP/1.1\r\nHost: x\r\n\r\n",
		"nonsense\r\n\r\n", "PUT " + agent + " HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
		"PUT " + agent + " HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n1",
		"GET /livez HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X-Bomb: "+strings.Repeat("x", 1000)+"\r\n", 60) + "\r\n",
		"GET /" + strings.Repeat("x", 60<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		if a := f.raw(t, request); a.status < 400 || a.status >= 500 {
			t.Errorf("%.60q: %d %s", request, a.status, a.body)
		}
	}
	f.want(200, "GET", "/livez", "")
}

// zeros is a body that is never held anywhere.
type zeros struct{ sent atomic.Int64 }

func (z *zeros) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = '0'
	}
	z.sent.Add(int64(len(b)))
	return len(b), nil
}

// TestHugeBody: 100 MB are refused without being held, whether the length is
// told or not.
func TestHugeBody(t *testing.T) {
	f := newFixture(t)
	const size = 100 << 20
	for _, told := range []bool{true, false} {
		for _, c := range [][2]string{{"PUT", agent}, {"POST", talk}, {"POST", batchPath}, {"PUT", person + "/summary"}} {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			src := &zeros{}
			req, err := http.NewRequestWithContext(t.Context(), c[0], f.url+c[1], io.LimitReader(src, size))
			if err != nil {
				t.Fatal(err)
			}
			if told {
				req.ContentLength = size
			}
			res, err := f.client.Do(req)
			if err != nil {
				t.Fatalf("%v, length told %v: %v", c, told, err)
			}
			got, _ := io.ReadAll(res.Body)
			_ = res.Body.Close()
			runtime.ReadMemStats(&after)
			a := answer{status: res.StatusCode, header: res.Header, body: string(got)}
			if a.status != 413 || a.problem(t).Type != "/problems/too-large" {
				t.Errorf("%v, length told %v: %d %s", c, told, a.status, a.body)
			}
			if grown := after.TotalAlloc - before.TotalAlloc; grown > size*3/4 || told && grown > 2<<20 {
				t.Errorf("%v, length told %v: %d bytes were allocated", c, told, grown)
			}
			if src.sent.Load() >= size {
				t.Errorf("%v: all of it was read", c)
			}
		}
	}
	f.wantEmpty()
}

// TestManyMessages: more messages than one call may have are not even parsed.
func TestManyMessages(t *testing.T) {
	f := newFixture(t)
	const message = `{"role":"u"},`
	body := "[" + strings.Repeat(message, (DefaultMaxBody-100)/len(message)) + `{"role":"u"}]`
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f.wantProblem(413, "too-large", "POST", talk, body)
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 120<<20 {
		t.Errorf("%d bytes were allocated for %d", grown, len(body))
	}
}

// TestHostileBodies: a clear 4xx for each, and nothing stored.
func TestHostileBodies(t *testing.T) {
	f := newFixture(t)
	deep := strings.Repeat("[", 100_000)
	for _, c := range []struct {
		status int
		body   string
	}{
		{400, ``}, {400, ` `}, {400, `{`}, {400, `[`}, {400, `[]`}, {400, `{}`}, {400, `null`}, {400, `1`}, {400, `"x"`}, {400, `[[]]`}, {400, `[null]`},
		{400, deep}, {400, deep + strings.Repeat("]", 100_000)}, {400, `{"role":"user","content":` + deep + `}`},
		{400, `{"id":7,"role":"user","content":"x"}`}, {400, `{"id":null,"role":"user","content":"x"}`}, {400, `{"id":"","role":"user","content":"x"}`},
		{400, `{"id":"` + strings.Repeat("x", 129) + `","role":"user"}`}, {400, `{"id":"a\u0000b","role":"user"}`}, {400, `{"id":"a\nb","role":"user"}`},
		{400, `{"role":7}`}, {400, `{"role":""}`}, {400, `{"role":["user"]}`}, {400, `{"content":"x"}`}, {400, `{"Role":"user"}`},
		{400, `{"role":"user","content":"x"} {"role":"user"}`}, {400, `{"role":"user","content":"` + "\xff" + `"}`}, {400, `{'role':'user'}`},
		{400, `{"role":"user","content":NaN}`}, {400, `{"role":"user","n":01}`}, {400, `{"role":"user",}`}, {400, "{\"role\":\"u\b\"}"}, {400, "{\"role\":\"u\",\"content\":\"a\nb\"}"},
		{400, `{"role":"user","content":"\x"}`}, {400, `{"role":"user","content":"\u12"}`}, {400, "\ufeff" + theHello},
		{400, `[` + theHello + `,` + theHello + `]`}, {400, `[` + theHello + `,{"role":"user","id":7}]`},
		{413, `{"role":"user","content":"` + strings.Repeat("x", jackcache.DefaultMessageBytes) + `"}`},
		{413, `[` + strings.TrimSuffix(strings.Repeat(`{"role":"user","content":"x"},`, jackcache.DefaultBatch+1), ",") + `]`},
	} {
		for _, method := range []string{"POST", "PUT"} {
			if c.body == `[]` && method == "PUT" {
				continue // replaces everything by nothing
			}
			a := f.want(c.status, method, talk, c.body)
			if len(a.body) > 2048 {
				t.Errorf("%.60q: a long answer: %.200s", c.body, a.body)
			}
		}
	}
	for _, body := range []string{deep, deep + strings.Repeat("]", 100_000), "\xff", "{", "nul", "\"a\tb\"", `"\q"`, `{"a":}`, "\x00"} {
		f.want(400, "PUT", agent, body)
		f.want(400, "PUT", person+"/summary", body)
		f.want(400, "POST", batchPath, body)
	}
	f.wantEmpty()
}
