package cli

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nyaruka/phonenumbers"
)

// kind is what the values of a setting are.
type kind interface {
	// parse returns the value of a text that is not empty.
	parse(text string) (value any, ok bool)
	// allowed says in words what parse takes.
	allowed() string
}

// text is any text; string.
type text struct{}

func (text) parse(s string) (any, bool) { return s, true }
func (text) allowed() string            { return "any text" }

// words is one of several; string.
type words []string

func (w words) parse(s string) (any, bool) {
	s = strings.ToLower(s)
	return s, slices.Contains(w, s)
}
func (w words) allowed() string { return strings.Join(w, ", ") }

// onOff is a switch; bool.
type onOff struct{}

func (onOff) parse(s string) (any, bool) {
	switch strings.ToLower(s) {
	case "on", "true", "yes", "1":
		return true, true
	case "off", "false", "no", "0":
		return false, true
	}
	return nil, false
}
func (onOff) allowed() string { return "on, off, true, false" }

// number is a whole number; int.
type number struct{ low, high int }

func (n number) parse(s string) (any, bool) {
	v, err := strconv.Atoi(s)
	return v, err == nil && v >= n.low && v <= n.high
}
func (n number) allowed() string { return fmt.Sprintf("%d to %d", n.low, n.high) }

func numberText(n int) string { return strconv.Itoa(n) }

const day = 24 * time.Hour

// span is a time.Duration with its unit.
type span struct{ low, high time.Duration }

func (d span) parse(s string) (any, bool) {
	v, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n int
		n, err = strconv.Atoi(days)
		if n < 0 || n > 36500 {
			return nil, false
		}
		v = time.Duration(n) * day
	}
	return v, err == nil && v >= d.low && v <= d.high
}
func (d span) allowed() string {
	return fmt.Sprintf("%s to %s, with a unit (ms, s, m, h, d)", spanText(d.low), spanText(d.high))
}

func spanText(d time.Duration) string {
	switch {
	case d == 0:
		return "0s"
	case d%day == 0:
		return fmt.Sprintf("%dd", d/day)
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return d.String()
}

// size is a number of bytes; int64.
type size struct{ low, high int64 }

var units = []struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1}, {"", 1},
}

func (n size) parse(s string) (any, bool) {
	for _, u := range units {
		digits, ok := cutUnit(s, u.name)
		if !ok {
			continue
		}
		v, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || v < 0 || v > n.high/u.bytes {
			return nil, false
		}
		return v * u.bytes, v*u.bytes >= n.low
	}
	return nil, false
}

func cutUnit(s, unit string) (string, bool) {
	at := len(s) - len(unit)
	if at < 0 || !strings.EqualFold(s[at:], unit) {
		return "", false
	}
	return s[:at], true
}

func (n size) allowed() string {
	return fmt.Sprintf("%s to %s (B, kB, MB, GB, KiB, MiB, GiB)", bytesText(n.low), bytesText(n.high))
}

func bytesText(n int64) string {
	for _, u := range units[:4] {
		if n >= u.bytes && n%u.bytes == 0 {
			return fmt.Sprintf("%d%s", n/u.bytes, u.name)
		}
	}
	return fmt.Sprintf("%dB", n)
}

// sizeOrOff is a size, or off, which 0 means, too; int64, -1 for off.
type sizeOrOff struct{ size }

func (n sizeOrOff) parse(s string) (any, bool) {
	if none, ok := (size{}).parse(s); strings.EqualFold(s, "off") || ok && none == int64(0) {
		return int64(-1), true
	}
	return n.size.parse(s)
}
func (n sizeOrOff) allowed() string { return n.size.allowed() + ", or off" }

// numberOrOff is a number, or off, which 0 means, too; int, -1 for off.
type numberOrOff struct{ number }

func (n numberOrOff) parse(s string) (any, bool) {
	if strings.EqualFold(s, "off") || s == "0" {
		return -1, true
	}
	return n.number.parse(s)
}
func (n numberOrOff) allowed() string { return n.number.allowed() + ", or off" }

// part is what is above 0 and at most 1; float64.
type part struct{}

func (part) parse(s string) (any, bool) {
	v, err := strconv.ParseFloat(s, 64)
	return v, err == nil && v > 0 && v <= 1
}
func (part) allowed() string { return "numbers above 0 and at most 1, such as 0.5" }

func partText(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// hostPort is an address to listen on; string.
type hostPort struct{}

func (hostPort) parse(s string) (any, bool) {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return nil, false
	}
	n, err := strconv.Atoi(port)
	return s, err == nil && n >= 0 && n <= 65535
}
func (hostPort) allowed() string { return "host:port, such as 127.0.0.1:8080 or [::1]:8080" }

// region is a country; string.
type region struct{}

func (region) parse(s string) (any, bool) {
	s = strings.ToUpper(s)
	return s, phonenumbers.GetSupportedRegions()[s]
}
func (region) allowed() string { return "ISO 3166-1 alpha-2 codes such as US, GB, DE" }

// file is a file that has to be there, in these words; string. What is in it is
// looked at where the store is opened.
type file string

func (file) parse(s string) (any, bool) { return s, true }
func (f file) allowed() string          { return string(f) }

// hostName is a host without a port; string.
type hostName struct{}

func (hostName) parse(s string) (any, bool) {
	_, err := netip.ParseAddr(s)
	return s, err == nil || isHost(s) && !strings.Contains(s, ":")
}
func (hostName) allowed() string { return "a name or an address, without scheme and port" }

// addrList is addresses of servers; []string.
type addrList struct{}

func (addrList) parse(s string) (any, bool) {
	var list []string
	for addr := range strings.SplitSeq(s, ",") {
		host, port, err := net.SplitHostPort(strings.TrimSpace(addr))
		if err != nil || !isHost(host) || !isPort(port) {
			return nil, false
		}
		list = append(list, net.JoinHostPort(host, port))
	}
	return list, true
}
func (addrList) allowed() string {
	return "host:port, several with commas between them"
}

func isPort(s string) bool {
	_, ok := number{1, 65535}.parse(s)
	return ok
}

// isHost reports whether s may be a name or an address, without its brackets.
func isHost(s string) bool { return s != "" && !strings.ContainsAny(s, " \t/@[]?#,") }

// redisURL is the addresses of servers with what they want to know; redisServers.
type redisURL struct{}

type redisServers struct {
	hosts          []redisHost
	user, password string
	db             int // -1: not given
	tls            bool
}

type redisHost struct{ host, port string } // no port: not given

func (redisURL) parse(s string) (any, bool) {
	// What url takes for a host is one: the others are cut out before.
	scheme, rest, ok := strings.Cut(s, "://")
	at := strings.LastIndexByte(rest, '@') + 1
	end := at + strings.IndexAny(rest[at:]+"/", "/?#")
	hosts := strings.Split(rest[at:end], ",")
	u, err := url.Parse(scheme + "://" + rest[:at] + "host" + rest[end:])
	if !ok || err != nil || u.Scheme != "redis" && u.Scheme != "rediss" || u.RawQuery != "" || u.Fragment != "" {
		return nil, false
	}
	r := redisServers{user: u.User.Username(), db: -1, tls: u.Scheme == "rediss"}
	r.password, _ = u.User.Password()
	for _, h := range hosts {
		host, ok := splitHost(h)
		if !ok {
			return nil, false
		}
		r.hosts = append(r.hosts, host)
	}
	if p := strings.Trim(u.Path, "/"); p != "" {
		v, ok := number{0, 1 << 20}.parse(p)
		if !ok {
			return nil, false
		}
		r.db = v.(int)
	}
	return r, true
}
func (redisURL) allowed() string {
	return "redis:// or rediss://user:password@host:port,host:port/db, with special characters of the password as %XX"
}

func splitHost(s string) (redisHost, bool) {
	if bare := strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"); net.ParseIP(bare) != nil && (bare == s) == (net.ParseIP(bare).To4() != nil) {
		return redisHost{host: bare}, true
	}
	if !strings.Contains(s, ":") {
		return redisHost{host: s}, isHost(s)
	}
	host, port, err := net.SplitHostPort(s)
	return redisHost{host, port}, err == nil && isHost(host) && isPort(port)
}
