package jackcache

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/tidwall/gjson"

	"github.com/jackcache/jackcache/internal/keys"
)

// Message is one message of a conversation. The zero Message is not valid: it
// wants a Role.
type Message struct {
	// ID identifies the message within its conversation: the same ID again is
	// stored once. Empty: Append gives one.
	ID string
	// Role says who speaks, for example "user" or "assistant".
	Role string
	// Content is the text. For messages that came with a content that is not a
	// JSON string it is that JSON.
	Content string
	// Timestamp is the caller's time of the message; the zero time means none.
	// It does not decide the order.
	Timestamp time.Time
	// JSON is the whole message, with fields that this package does not know.
	// When it is set, Append stores it byte for byte and ignores the other
	// fields, except that a missing id is put in. Reads set it always.
	JSON json.RawMessage
}

// ParseMessages reads one JSON message or an array of them, as Message.JSON. It
// returns ErrInvalid with the place of what is wrong.
func ParseMessages(data []byte) ([]Message, error) {
	if !ValidJSON(data) {
		return nil, invalid("the messages are not JSON")
	}
	all := gjson.ParseBytes(data)
	if all.IsObject() {
		m, err := parseMessage(all)
		return []Message{m}, err
	}
	if !all.IsArray() {
		return nil, invalid("want a message or an array of messages, got %s", all.Type)
	}
	var (
		msgs []Message
		err  error
	)
	all.ForEach(func(_, v gjson.Result) bool {
		var m Message
		if m, err = parseMessage(v); err != nil {
			err = fmt.Errorf("message %d: %w", len(msgs), err)
			return false
		}
		msgs = append(msgs, m)
		return true
	})
	return msgs, err
}

// parseMessage reads the fields that this package knows from valid JSON.
func parseMessage(v gjson.Result) (Message, error) {
	if !v.IsObject() {
		return Message{}, invalid("a message is a JSON object, got %s", v.Type)
	}
	m := Message{JSON: json.RawMessage(v.Raw)}
	var err error
	v.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "id":
			if m.ID, err = stringField("id", value); err == nil {
				err = checkMessageID(m.ID)
			}
		case "role":
			m.Role, err = stringField("role", value)
		case "content":
			m.Content = contentText(value)
		case "timestamp":
			m.Timestamp = timestamp(value)
		}
		return err == nil
	})
	if err == nil && m.Role == "" {
		err = invalid(`a message wants a "role"`)
	}
	return m, err
}

func stringField(name string, v gjson.Result) (string, error) {
	if v.Type != gjson.String {
		return "", invalid("%q of a message must be a string, got %s", name, v.Type)
	}
	return v.Str, nil
}

func contentText(v gjson.Result) string {
	if v.Type == gjson.String {
		return v.Str
	}
	return v.Raw
}

// timestamp reads milliseconds since 1970 or RFC 3339; anything else is none.
func timestamp(v gjson.Result) time.Time {
	switch v.Type {
	case gjson.Number:
		if ms := v.Int(); ms > 0 && ms < 1<<47 {
			return time.UnixMilli(ms)
		}
	case gjson.String:
		if t, err := time.Parse(time.RFC3339, v.Str); err == nil {
			return t
		}
	}
	return time.Time{}
}

func checkMessageID(id string) error {
	if id == "" || len(id) > keys.MaxPart || !utf8.ValidString(id) {
		return invalid("message id %.140q: allowed are 1 to %d bytes of UTF-8", id, keys.MaxPart)
	}
	for _, r := range id {
		if unicode.IsControl(r) {
			return invalid("message id %q has the control character %U", id, r)
		}
	}
	return nil
}

// complete returns m with an id and with JSON that has it.
func (m Message) complete() (Message, error) {
	if m.JSON == nil {
		return m.build()
	}
	if !ValidJSON(m.JSON) {
		return m, invalid("Message.JSON is not JSON")
	}
	parsed, err := parseOne(m.JSON)
	if err != nil {
		return m, err
	}
	if parsed.ID != "" {
		return parsed, nil
	}
	if parsed.ID, err = newMessageID(); err != nil {
		return m, err
	}
	parsed.JSON = withID(parsed.JSON, parsed.ID)
	return parsed, nil
}

// withID puts an id first into a JSON object that has none.
func withID(object []byte, id string) []byte {
	head, _ := json.Marshal(id) // a string always has a JSON form
	body := bytes.TrimLeft(object[1:], " \t\r\n")
	out := append([]byte(`{"id":`), head...)
	if body[0] != '}' {
		out = append(out, ',')
	}
	return append(out, body...)
}

func (m Message) build() (Message, error) {
	if m.Role == "" {
		return m, invalid("a message wants a Role")
	}
	if m.ID == "" {
		var err error
		if m.ID, err = newMessageID(); err != nil {
			return m, err
		}
	}
	if err := checkMessageID(m.ID); err != nil {
		return m, err
	}
	if !utf8.ValidString(m.Role) || !utf8.ValidString(m.Content) {
		return m, invalid("message %q: role and content must be UTF-8", m.ID)
	}
	fields := struct {
		ID        string     `json:"id"`
		Role      string     `json:"role"`
		Content   string     `json:"content"`
		Timestamp *time.Time `json:"timestamp,omitempty"`
	}{ID: m.ID, Role: m.Role, Content: m.Content}
	if !m.Timestamp.IsZero() {
		fields.Timestamp = &m.Timestamp
	}
	var err error
	if m.JSON, err = codec.Marshal(fields); err != nil {
		return m, invalid("message %q: %v", m.ID, err)
	}
	return m, nil
}

func newMessageID() (string, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return "", fmt.Errorf("message id: %w", err)
	}
	return id.String(), nil
}

// digest identifies role and content, so that a repetition can be told from a
// conflict.
func (m Message) digest() [8]byte {
	h := sha256.New()
	h.Write([]byte(m.Role))
	h.Write([]byte{0})
	h.Write([]byte(m.Content))
	var sum [sha256.Size]byte
	h.Sum(sum[:0])
	return [8]byte(sum[:])
}

func parseOne(data []byte) (Message, error) { return parseMessage(gjson.ParseBytes(data)) }

// withoutID returns a JSON object without its id, where it has one.
func withoutID(object []byte, has bool) []byte {
	if !has {
		return object
	}
	fields := []byte{'{'}
	gjson.ParseBytes(object).ForEach(func(key, value gjson.Result) bool {
		if key.Str == "id" {
			return true
		}
		if len(fields) > 1 {
			fields = append(fields, ',')
		}
		fields = append(append(append(fields, key.Raw...), ':'), value.Raw...)
		return true
	})
	return append(fields, '}')
}
