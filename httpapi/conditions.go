package httpapi

import (
	"net/http"
	"strings"

	"github.com/jackcache/jackcache"
)

// writeCondition reads If-Match and If-None-Match of a write.
func (x *exchange) writeCondition() ([]jackcache.Condition, error) {
	match, absent := x.r.Header["If-Match"], x.r.Header["If-None-Match"]
	switch {
	case match == nil && absent == nil:
		return nil, nil
	case match != nil && absent != nil:
		return nil, invalid("If-Match and If-None-Match in one request; allowed is one of them")
	case absent != nil:
		if len(absent) != 1 || strings.TrimSpace(absent[0]) != "*" {
			return nil, invalid("If-None-Match %.80q on a write: allowed is *", strings.Join(absent, ", "))
		}
		return []jackcache.Condition{jackcache.IfAbsent()}, nil
	}
	tag := strings.TrimSpace(strings.Join(match, ", "))
	v, ok := strongTag(tag)
	if !ok {
		return nil, invalid(`If-Match %.80q: allowed is one strong tag as ETag gave it, such as "0197a2b3c4d50000a1b2"`, tag)
	}
	return []jackcache.Condition{jackcache.IfVersion(jackcache.Version(v))}, nil
}

// unconditional refuses a condition where a write cannot keep it.
func (x *exchange) unconditional() error {
	for _, name := range []string{"If-Match", "If-None-Match"} {
		if x.r.Header[name] != nil {
			return invalid("%s: conditional writes are for entries and summaries", name)
		}
	}
	return nil
}

func strongTag(s string) (string, bool) {
	if len(s) < 3 || s[0] != '"' || s[len(s)-1] != '"' {
		return "", false
	}
	s = s[1 : len(s)-1]
	return s, !strings.ContainsAny(s, `", `)
}

// precondition reads If-None-Match and If-Match of a read: 0 to go on, else the
// status that answers it.
func (x *exchange) precondition(v jackcache.Version) int {
	h := x.r.Header
	if tags := h["If-Match"]; tags != nil && !tagListed(tags, `"`+string(v)+`"`) {
		return http.StatusPreconditionFailed
	}
	if tags := h["If-None-Match"]; tags != nil && tagListed(tags, `"`+string(v)+`"`) {
		return http.StatusNotModified
	}
	return 0
}

// tagListed compares weakly for both fields: every tag of this server is strong,
// and a weak spelling of one names the same bytes.
func tagListed(fields []string, tag string) bool {
	for _, f := range fields {
		for t := range strings.SplitSeq(f, ",") {
			t = strings.TrimSpace(t)
			if t == "*" || strings.TrimPrefix(t, "W/") == tag {
				return true
			}
		}
	}
	return false
}
