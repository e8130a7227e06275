package httpapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// authorize checks the host and the token, and that no web page of another
// origin makes a browser write here.
func (s *Server) authorize(x *exchange, rt route) error {
	if s.opts.LoopbackHosts && !rt.anyHost && !loopbackHost(x.r.Host) {
		return fmt.Errorf("%w: %.80q: this server has no token and answers to localhost alone; set JACKCACHE_API_TOKEN, or use localhost", errHost, x.r.Host)
	}
	if !rt.open && !s.hasToken(x.r) {
		return unauthorized(x)
	}
	if err := s.origins.Check(x.r); err != nil {
		return fmt.Errorf("%w: %w", errOrigin, err)
	}
	return nil
}

// loopbackHost reports whether a Host field names this host, so that no name of
// a web page does that was made to point here.
func loopbackHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	} else if strings.HasPrefix(host, "[") {
		host = strings.TrimSuffix(host[1:], "]")
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && ip.Unmap().IsLoopback()
}

func unauthorized(x *exchange) error {
	x.Header()["Www-Authenticate"] = []string{`Bearer realm="jackcache"`}
	return fmt.Errorf(`%w: send "Authorization: Bearer <token>" with this server's token`, errToken)
}

// hasToken takes the same time for every wrong token: hashes are compared.
func (s *Server) hasToken(r *http.Request) bool {
	if s.opts.Token == "" {
		return true
	}
	fields := r.Header["Authorization"]
	if len(fields) != 1 {
		return false
	}
	scheme, token, ok := strings.Cut(fields[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	sum := sha256.Sum256([]byte(strings.TrimLeft(token, " ")))
	return subtle.ConstantTimeCompare(sum[:], s.token[:]) == 1
}

// maxRequestID is the longest id that is taken from a request.
const maxRequestID = 64

// requestID returns the id that came with a request, where it is a sane one, or
// a new one.
func requestID(r *http.Request) string {
	if v := r.Header["X-Request-Id"]; len(v) == 1 && saneID(v[0]) {
		return v[0]
	}
	const digits = "0123456789abcdef"
	var b [16]byte
	n := rand.Uint64()
	for i := range b {
		b[i] = digits[n&15]
		n >>= 4
	}
	return string(b[:])
}

func saneID(s string) bool {
	if s == "" || len(s) > maxRequestID {
		return false
	}
	for i := range len(s) {
		c, l := s[i], s[i]|0x20
		if !(l >= 'a' && l <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}
