package redistest

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// replyTime bounds one exchange: a frozen server does not hang a test.
const replyTime = 10 * time.Second

// access is what a connection to a server needs.
type access struct {
	addr     string
	password string      // of the default user, "" for none
	tls      *tls.Config // nil without TLS
}

// do sends one command on a connection of its own and returns the reply as
// text.
func (a access) do(args ...string) (string, error) {
	c, err := a.dial()
	if err != nil {
		return "", err
	}
	defer c.close()
	return c.text(args...)
}

func (a access) dial() (*conn, error) {
	d := &net.Dialer{Timeout: replyTime}
	var nc net.Conn
	var err error
	if a.tls == nil {
		nc, err = d.Dial("tcp", a.addr)
	} else {
		nc, err = tls.DialWithDialer(d, "tcp", a.addr, a.tls)
	}
	if err != nil {
		return nil, err
	}
	c := &conn{conn: nc, r: bufio.NewReader(nc)}
	if a.password == "" {
		return c, nil
	}
	if _, err := c.do("AUTH", a.password); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// conn is one connection that speaks RESP2. It is not safe for concurrent use.
//
// See https://redis.io/docs/latest/develop/reference/protocol-spec/
type conn struct {
	conn net.Conn
	r    *bufio.Reader
}

// close drops the connection; replies have been read, or there was an error.
func (c *conn) close() { _ = c.conn.Close() }

// text returns the reply as text, an element of an array per line.
func (c *conn) text(args ...string) (string, error) {
	reply, err := c.do(args...)
	return strings.Join(reply, "\n"), err
}

// do sends one command and returns the elements of its reply: one, or those of
// an array.
func (c *conn) do(args ...string) ([]string, error) {
	if err := c.conn.SetDeadline(time.Now().Add(replyTime)); err != nil {
		return nil, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := io.WriteString(c.conn, b.String()); err != nil {
		return nil, err
	}
	return readReply(c.r)
}

// readReply returns an array inside an array as one element of text.
func readReply(r *bufio.Reader) ([]string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	line = strings.TrimSuffix(line, "\r\n")
	if line == "" {
		return nil, errors.New("empty line in a reply")
	}
	rest := line[1:]
	switch line[0] {
	case '+', ':':
		return []string{rest}, nil
	case '-':
		return nil, errors.New(rest)
	case '$':
		return readBulk(r, rest)
	case '*':
		return readArray(r, rest)
	}
	return nil, fmt.Errorf("unknown reply %q", line)
}

func readBulk(r *bufio.Reader, length string) ([]string, error) {
	n, err := strconv.Atoi(length)
	if err != nil {
		return nil, err
	}
	if n < 0 {
		return []string{""}, nil
	}
	b := make([]byte, n+len("\r\n"))
	_, err = io.ReadFull(r, b)
	return []string{string(b[:n])}, err
}

func readArray(r *bufio.Reader, length string) ([]string, error) {
	n, err := strconv.Atoi(length)
	if err != nil {
		return nil, err
	}
	elements := make([]string, 0, max(n, 0))
	for range n {
		e, err := readReply(r)
		if err != nil {
			return nil, err
		}
		elements = append(elements, strings.Join(e, "\n"))
	}
	return elements, nil
}
