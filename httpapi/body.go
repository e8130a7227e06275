package httpapi

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/jackcache/jackcache"
)

// presize bounds what is allocated for a body on the word of its header.
const presize = 64 << 10

func errBodyTooLarge(limit int64) error {
	return fmt.Errorf("%w: the body is larger than %d bytes", jackcache.ErrTooLarge, limit)
}

// body reads a JSON body, which the caller releases.
func (x *exchange) body() (*bytes.Buffer, error) {
	if err := jsonBody(x.r.Header); err != nil {
		return nil, err
	}
	limit := x.s.opts.MaxBody
	if x.r.ContentLength > limit {
		x.Header()["Connection"] = []string{"close"} // do not wait for it
		return nil, errBodyTooLarge(limit)
	}
	b := buffer()
	if n := x.r.ContentLength; n > 0 {
		b.Grow(int(min(n, presize)) + bytes.MinRead)
	}
	// The inner writer is the one that closes the connection at the limit.
	if _, err := b.ReadFrom(http.MaxBytesReader(x.ResponseWriter, x.r.Body, limit)); err != nil {
		release(b)
		return nil, bodyError(err)
	}
	if b.Len() == 0 {
		release(b)
		return nil, invalid("the body is empty; want JSON")
	}
	return b, nil
}

// jsonBody refuses what is clearly not JSON. No type at all is taken for JSON.
func jsonBody(h http.Header) error {
	if enc := h.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return fmt.Errorf("%w: Content-Encoding %.40q; allowed is none", errMediaType, enc)
	}
	types := h["Content-Type"]
	if len(types) == 0 || types[0] == "application/json" {
		return nil
	}
	t, _, _ := strings.Cut(types[0], ";")
	t = strings.ToLower(strings.TrimSpace(t))
	if t == "" || t == "application/json" || strings.HasSuffix(t, "+json") {
		return nil
	}
	return fmt.Errorf("%w: Content-Type %.80q; want application/json", errMediaType, t)
}

// object reads a body that is a JSON object. Its strings are the caller's.
func (x *exchange) object() (gjson.Result, []byte, error) {
	b, err := x.body()
	if err != nil {
		return gjson.Result{}, nil, err
	}
	defer release(b)
	raw := bytes.Clone(b.Bytes())
	if !jackcache.ValidJSON(raw) {
		return gjson.Result{}, nil, invalid("the body is not JSON in UTF-8")
	}
	v := gjson.ParseBytes(raw)
	if !v.IsObject() {
		return v, nil, invalid("want a JSON object, got %s", typeName(v))
	}
	return v, raw, nil
}

// textField returns a field of an object that must be a string.
func textField(object gjson.Result, name string) (string, error) {
	var (
		got   gjson.Result
		found bool
	)
	object.ForEach(func(key, v gjson.Result) bool {
		if key.Str == name {
			got, found = v, true // the last one counts, as for most parsers
		}
		return true
	})
	if !found {
		return "", invalid("want the field %q", name)
	}
	if got.Type != gjson.String {
		return "", invalid("%q must be a string, got %s", name, typeName(got))
	}
	return got.Str, nil
}

func typeName(v gjson.Result) string {
	switch {
	case v.IsObject():
		return "an object"
	case v.IsArray():
		return "an array"
	}
	return strings.ToLower(v.Type.String())
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", jackcache.ErrInvalid, fmt.Sprintf(format, args...))
}

// parseQuery reads the parameters of a request and refuses what its route does
// not know: a restriction that is misspelt must not read everything. Probes may
// come with anything.
func (x *exchange) parseQuery(rt route) error {
	if x.r.URL.RawQuery == "" || rt.open || rt.pattern == "" {
		return nil
	}
	q, err := url.ParseQuery(x.r.URL.RawQuery)
	if err != nil {
		return invalid("query: %v", err)
	}
	for _, name := range slices.Sorted(maps.Keys(q)) {
		switch {
		case slices.Contains(rt.query, name):
		case len(rt.query) == 0:
			return invalid("unknown parameter ?%.40s=; allowed is none", name)
		default:
			return invalid("unknown parameter ?%.40s=; allowed are %s", name, strings.Join(rt.query, ", "))
		}
	}
	x.query = q
	return nil
}

// number returns a parameter from 1 to most, 0 where it is not there.
func number(q url.Values, name string, most int) (int, error) {
	switch v := q[name]; {
	case len(v) == 0:
		return 0, nil
	case len(v) > 1:
		return 0, invalid("?%s= comes %d times; allowed is once", name, len(v))
	default:
		n, err := strconv.Atoi(v[0])
		if err != nil || n < 1 || n > most {
			return 0, invalid("?%s=%.40s: allowed are 1 to %d", name, v[0], most)
		}
		return n, nil
	}
}
