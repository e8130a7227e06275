package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// answerTime bounds a request that is answered at once.
	answerTime = 15 * time.Second
	// largestAnswer bounds an answer that is read into memory.
	largestAnswer = 512 << 20
)

// client talks to a server, or to one in this process.
type client struct {
	base      string // URL without a slash at the end
	name      string // what messages call it; empty: base
	token     string
	transport *http.Transport
	// close lets go of a store that was opened by this process.
	close func() error
	// upload is the body that is being sent; it is closed when a connection
	// ends. net/http would wait for it, and the standard input may be silent.
	upload atomic.Pointer[io.PipeReader]
}

func (c *client) String() string {
	if c.name != "" {
		return c.name
	}
	return c.base
}

type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

func newClient(dial dialFunc) *client {
	c := &client{close: func() error { return nil }}
	c.transport = &http.Transport{
		ExpectContinueTimeout: 2 * time.Second, DisableCompression: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return watched{Conn: conn, client: c}, nil
		},
	}
	return c
}

// watched is a connection whose end ends an upload.
type watched struct {
	net.Conn
	client *client
}

func (w watched) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if err != nil {
		if body := w.client.upload.Load(); body != nil {
			_ = body.CloseWithError(errHungUp) // it never fails
		}
	}
	return n, err
}

var errHungUp = errors.New("the connection ended")

// apiError is an answer that says no.
type apiError struct {
	Status int             `json:"-"` // of HTTP
	Type   string          `json:"type"`
	Title  string          `json:"title"`
	Detail string          `json:"detail"`
	Report json.RawMessage `json:"report"`

	body []byte // of the answer, where it is JSON
}

func (e *apiError) Error() string {
	switch {
	case e.Status == http.StatusUnauthorized:
		return "the server wants another token: set JACKCACHE_API_TOKEN to the one it was started with"
	case strings.HasSuffix(e.Type, "/no-route"):
		return "the server has nothing at this path; it is not 'jackcache serve', or of another version"
	case e.Type == "":
		return fmt.Sprintf("the server answered %d and not in the way of jackcache", e.Status)
	case e.Detail == "":
		return strings.ToLower(e.Title)
	}
	return strings.ToLower(e.Title) + ": " + e.Detail
}

// isProblem reports whether a server answered with a problem of this name.
func isProblem(err error, name string) bool {
	var api *apiError
	return errors.As(err, &api) && strings.HasSuffix(api.Type, "/"+name)
}

// refused reports whether a server said no before it read anything.
func refused(err error) bool {
	var api *apiError
	if !errors.As(err, &api) {
		return false
	}
	switch api.Status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound,
		http.StatusUnsupportedMediaType, http.StatusServiceUnavailable:
		return api.Report == nil
	}
	return false
}

// asUsage makes wrong use of an answer that blames the input.
func asUsage(err error) error {
	var api *apiError
	if errors.As(err, &api) && api.Status == http.StatusBadRequest {
		return usage(api.Error())
	}
	return err
}

// path builds the path of a URL from its segments, each escaped.
func path(segments ...string) string {
	var b strings.Builder
	for _, s := range segments {
		b.WriteByte('/')
		b.WriteString(strings.ReplaceAll(url.PathEscape(s), ":", "%3A"))
	}
	return b.String()
}

// do sends a request. The caller closes the body of the answer, which is one
// that says yes.
func (c *client) do(ctx context.Context, method, target string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+target, body)
	if err != nil {
		return nil, err
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if body != nil {
		req.Header.Set("Expect", "100-continue") // a server that refuses says so before the body
	}
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return nil, notReached(c.String(), err)
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }() // read as far as it is wanted
	return nil, readProblem(resp)
}

func readProblem(resp *http.Response) error {
	e := &apiError{}
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil || json.Unmarshal(data, e) != nil {
		e, data = &apiError{}, nil
	}
	e.Status, e.body = resp.StatusCode, data
	return e
}

func notReached(name string, err error) error {
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted")
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s does not answer in time", name)
	}
	return fmt.Errorf("%s: %w", name, shorter{err})
}

// shorter drops what net/http puts before an error of the network.
type shorter struct{ error }

func (s shorter) Error() string {
	return strings.TrimPrefix(s.error.Error(), "net/http: HTTP/1.x transport connection broken: ")
}

func (s shorter) Unwrap() error { return s.error }

// call sends a request and returns the body of the answer.
func (c *client) call(ctx context.Context, method, target string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	resp, err := c.do(ctx, method, target, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	data, err := io.ReadAll(io.LimitReader(resp.Body, largestAnswer))
	if err != nil {
		return nil, notReached(c.String(), err)
	}
	return data, nil
}

// get reads an answer into v.
func (c *client) get(ctx context.Context, target string, v any) ([]byte, error) {
	data, err := c.call(ctx, http.MethodGet, target)
	if err != nil {
		return nil, err
	}
	return data, decode(data, v)
}

func decode(data []byte, v any) error {
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("the server's answer is not as expected (is it of another version?): %w", err)
	}
	return nil
}
