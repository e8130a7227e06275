package migrate

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bytedance/sonic"
	"github.com/tidwall/gjson"

	"github.com/jackcache/jackcache"
)

// entry is a line that has a place.
type entry struct {
	target
	org   jackcache.Org
	orgID string // empty: the directory
	id    string // phones in E.164 form
	value []byte // JSON, as it is stored
	refer string // of a lead mapping: the lead; of the way back: the phone
}

// names are the keys that writing the entry touches.
func (e entry) names() []string {
	name := func(kind, id string) string { return kind + "\x00" + e.orgID + "\x00" + id }
	own := name(e.kind, e.id)
	if e.form == leadForm && e.orgID != "" {
		return []string{own, name("leadToPhone", e.refer)}
	}
	return []string{own}
}

// line is one line of the input as it was read.
type line struct {
	Map, Key string
	org, id  *string // explicit, where they are given
	value    gjson.Result
}

// asideError is why an entry that can be read has no place.
type asideError struct{ reason string }

func (e *asideError) Error() string { return e.reason }

func aside(format string, args ...any) error {
	return &asideError{fmt.Sprintf(format, args...)}
}

func readLine(data []byte) (l line, err error) {
	if !utf8.Valid(data) {
		return l, errors.New("the line is not UTF-8")
	}
	if !jackcache.ValidJSON(data) {
		return l, errors.New("the line is not JSON")
	}
	all := gjson.ParseBytes(data)
	if !all.IsObject() {
		return l, fmt.Errorf(`want {"map","key","value"}, got %s`, all.Type)
	}
	text := func(name string, v gjson.Result) string {
		if v.Type != gjson.String && err == nil {
			err = fmt.Errorf("%q must be a string, got %s", name, v.Type)
		}
		return v.Str
	}
	hasKey := false
	all.ForEach(func(name, v gjson.Result) bool {
		switch name.Str {
		case "map":
			l.Map = text("map", v)
		case "key":
			l.Key, hasKey = text("key", v), true
		case "org":
			s := text("org", v)
			l.org = &s
		case "id":
			s := text("id", v)
			l.id = &s
		case "value":
			l.value = v
		}
		return true
	})
	switch {
	case err != nil:
	case l.Map == "":
		err = errors.New(`"map" is missing`)
	case !hasKey && l.org == nil:
		err = errors.New(`"key" is missing`)
	case l.value.Type == gjson.Null:
		err = errors.New(`"value" is missing`)
	}
	return l, err
}

// schemes are written before phones; the colon behind them separates no
// organisation.
var schemes = []string{"tel", "whatsapp", "sms"}

// absent are written where there is no organisation: the first by the server
// whose maps these are, the others by JavaScript.
var absent = []string{"global", "undefined", "null"}

// split takes a key apart into organisation and id; no organisation is not an
// error here. What could be taken apart in two ways is set aside.
func (l line) split(t target) (org, id string, err error) {
	switch {
	case l.org != nil && l.id != nil:
		return *l.org, *l.id, nil
	case t.id == jackcache.NoID && l.org != nil:
		return *l.org, "", nil
	case t.id == jackcache.NoID:
		return known(l.Key), "", nil
	case l.org != nil:
		id, ok := strings.CutPrefix(l.Key, *l.org+":")
		if !ok {
			return "", "", fmt.Errorf(`"key" does not begin with the organisation in "org"; give "id" too`)
		}
		return *l.org, id, nil
	case l.id != nil:
		org, ok := strings.CutSuffix(l.Key, ":"+*l.id)
		if !ok {
			return "", "", fmt.Errorf(`"key" does not end with what is in "id"; give "org" too`)
		}
		return t.organisation(org), *l.id, nil
	}
	at := strings.LastIndexByte(l.Key, ':')
	if at < 0 {
		return "", l.Key, nil
	}
	org, id = l.Key[:at], l.Key[at+1:]
	if !t.phones() && strings.Contains(org, ":") {
		return "", "", aside(`"key" has several colons: say with "org" and "id" where the organisation ends`)
	}
	return t.organisation(org), id, nil
}

// organisation is the organisation in what stands before the id of a key.
func (t target) organisation(org string) string {
	if t.phones() {
		org = dropScheme(org)
	}
	return known(org)
}

func known(org string) string {
	if slices.Contains(absent, org) {
		return ""
	}
	return org
}

func dropScheme(org string) string {
	for _, s := range schemes {
		if strings.EqualFold(org, s) {
			return ""
		}
		if n := len(org) - len(s) - 1; n >= 0 && org[n] == ':' && strings.EqualFold(org[n+1:], s) {
			return org[:n]
		}
	}
	return org
}

// place finds out where a line belongs.
func (im *importer) place(l line) (entry, error) {
	t, ok := im.table[l.Map]
	if !ok {
		return entry{}, fmt.Errorf("unknown map %.80q: allowed are %s", l.Map, im.table.names())
	}
	if t.local {
		return entry{}, aside("kind %q stays in the process and is not imported", t.kind)
	}
	org, id, err := l.split(t)
	if err != nil {
		return entry{}, err
	}
	e := entry{target: t, orgID: org, id: id, org: im.a.Cache.Org(org)}
	if org == "" {
		if t.form != leadForm || !im.o.IncludeDirectory {
			return entry{}, aside(`the entry has no organisation: give "org" and "id"`)
		}
		e.org = im.a.Cache.Directory()
	}
	if t.phones() {
		if e.id, err = im.a.Cache.NormalizePhone(id); err != nil {
			return entry{}, err
		}
	}
	return e, e.read(l.value, im)
}

// read brings the value of a line into the form in which it is stored.
func (e *entry) read(v gjson.Result, im *importer) error {
	e.value = []byte(v.Raw)
	var err error
	switch e.form {
	case messageForm:
		if !v.IsArray() {
			return fmt.Errorf(`"value" of a conversation must be an array of messages, got %s`, v.Type)
		}
	case summaryForm:
		_, e.value, err = field(v, "text")
	case leadForm:
		e.refer, e.value, err = field(v, "leadId")
	case phoneForm:
		if e.refer, _, err = field(v, "phone"); err == nil {
			e.refer, err = im.a.Cache.NormalizePhone(e.refer)
		}
		if err == nil {
			e.value, err = object("phone", e.refer)
		}
	}
	return err
}

// field reads a string that stands alone or in the field of an object, and
// returns it with the object. An object with nothing else gets one spelling, so
// that both forms are stored alike.
func field(v gjson.Result, name string) (string, []byte, error) {
	s := v
	if v.IsObject() {
		s = v.Get(name)
	}
	if s.Type != gjson.String || s.Str == "" {
		return "", nil, fmt.Errorf(`"value" must be a string or {%q: a string}, and not empty`, name)
	}
	if v.IsObject() && !lone(v) {
		return s.Str, []byte(v.Raw), nil
	}
	raw, err := object(name, s.Str)
	return s.Str, raw, err
}

// lone reports whether v is an object of one field.
func lone(v gjson.Result) bool {
	n := 0
	v.ForEach(func(_, _ gjson.Result) bool { n++; return true })
	return v.IsObject() && n == 1
}

func object(name, value string) ([]byte, error) {
	return sonic.Marshal(map[string]string{name: value})
}

// shown is a text of a line as a report has it: short, and without keeping the
// line in memory.
func shown(s string) string {
	const most = 100
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strings.Clone(s)
}

// masked hides all but the last four digits of a phone in a key of t.
func (t target) masked(key string) string {
	const digitsShown = 4
	key = shown(key)
	if !t.phones() {
		return key
	}
	at := strings.LastIndexByte(key, ':') + 1
	b, digits := []byte(key), 0
	for i := len(b) - 1; i >= at; i-- {
		if b[i] < '0' || b[i] > '9' {
			continue
		}
		if digits++; digits > digitsShown {
			b[i] = '*'
		}
	}
	return string(b)
}
