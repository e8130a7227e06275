package httpapi

import (
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/migrate"
)

// body is what a request or an answer has as its body.
type body struct {
	about   string
	media   string   // application/json where it is empty
	headers []string // of the answer, besides X-Request-Id
	schema  *jsonschema.Schema
}

// streamed is the body whose length is not bounded.
const streamed = "Lines"

// Bodies that handlers write and read by hand. They say what these do, and
// nothing else uses them.
type (
	describedMessage struct {
		ID        string `json:"id,omitempty" jsonschema:"Identifies the message within its conversation: the same id again is stored once. A message without one gets one. 1 to 128 bytes."`
		Role      string `json:"role" jsonschema:"Who speaks, for example user or assistant."`
		Content   any    `json:"content,omitempty" jsonschema:"The text, or any other JSON."`
		Timestamp any    `json:"timestamp,omitempty" jsonschema:"The caller's time: milliseconds since 1970, or RFC 3339. It does not decide the order."`
	}
	describedMessages struct {
		Messages []describedMessage `json:"messages" jsonschema:"The newest that fit, oldest first, byte for byte as they came."`
		Complete bool               `json:"complete" jsonschema:"False where earlier messages of the window may be missing though nothing restricted the read: the store is away, and these are what the server knows of."`
		Count    int                `json:"count" jsonschema:"How many messages this answer has."`
	}
	describedAppended struct {
		Appended   int  `json:"appended" jsonschema:"How many were new."`
		Duplicates int  `json:"duplicates" jsonschema:"How many were stored before."`
		Pending    bool `json:"pending" jsonschema:"Whether the write waits for the store: the server has it on disk, the store does not have it yet."`
		Messages   []struct {
			ID        string            `json:"id"`
			Version   jackcache.Version `json:"version"`
			Duplicate bool              `json:"duplicate"`
		} `json:"messages" jsonschema:"One for each message, in the order given."`
	}
	describedText struct {
		Text string `json:"text" jsonschema:"The summary. Other fields are kept as they are."`
	}
	describedWritten struct {
		Version jackcache.Version `json:"version"`
		Pending bool              `json:"pending" jsonschema:"Whether the write waits for the store: the server has it on disk, the store does not have it yet."`
	}
	describedLead struct {
		LeadID string `json:"leadId"`
	}
	describedPhone struct {
		Phone string `json:"phone" jsonschema:"In any spelling; answers have the E.164 form."`
	}
	describedReads struct {
		Reads []struct {
			Kind string `json:"kind" jsonschema:"Any kind, or conversationContext."`
			ID   string `json:"id,omitempty" jsonschema:"The id; left out for kinds without ids."`
			Last int    `json:"last,omitempty" jsonschema:"The most messages; for conversationContext alone."`
		} `json:"reads"`
	}
	describedResults struct {
		Results []struct {
			Kind     string            `json:"kind"`
			ID       string            `json:"id"`
			Found    bool              `json:"found"`
			Value    json.RawMessage   `json:"value,omitempty" jsonschema:"The value, or the messages; left out where nothing was found."`
			Version  jackcache.Version `json:"version,omitempty"`
			Source   string            `json:"source,omitempty" jsonschema:"pending: this server has accepted it, and the store may not have it yet; stale: the store is away, and others may have written since. Left out otherwise."`
			Complete bool              `json:"complete,omitempty" jsonschema:"Of conversations alone."`
		} `json:"results" jsonschema:"One for each read, in the order of the reads."`
	}
	describedAccepted struct {
		Pending bool `json:"pending" jsonschema:"True."`
	}
	describedLine struct {
		Map   string          `json:"map" jsonschema:"The map of the assistant, or the kind, such as conversationContexts or agentConfig."`
		Key   string          `json:"key" jsonschema:"organisation:phone or organisation:id, or the organisation alone for kinds without ids."`
		Value json.RawMessage `json:"value" jsonschema:"What the map holds under the key."`
	}
)

// described are the schemas that are made from Go types, by name.
var described = map[string]reflect.Type{
	"Message": reflect.TypeFor[describedMessage](), "Messages": reflect.TypeFor[describedMessages](),
	"Appended": reflect.TypeFor[describedAppended](), "Summary": reflect.TypeFor[describedText](),
	"Written": reflect.TypeFor[describedWritten](), "Lead": reflect.TypeFor[describedLead](),
	"Phone": reflect.TypeFor[describedPhone](), "Link": reflect.TypeFor[link](),
	"Reads": reflect.TypeFor[describedReads](), "Results": reflect.TypeFor[describedResults](),
	"Invalidated": reflect.TypeFor[invalidated](), "Accepted": reflect.TypeFor[describedAccepted](), "Cleared": reflect.TypeFor[cleared](), "Forgotten": reflect.TypeFor[forgotten](),
	"Conversations": reflect.TypeFor[listing](), "Keys": reflect.TypeFor[keyPage](), "Key": reflect.TypeFor[storedKey](),
	"ImportReport": reflect.TypeFor[migrate.Report](), "Line": reflect.TypeFor[describedLine](),
	"BriefHealth": reflect.TypeFor[briefHealth](), "FullHealth": reflect.TypeFor[fullHealth](),
	"MonitoredOperation": reflect.TypeFor[monitored](), "MonitorSummary": reflect.TypeFor[summarised](),
	"Store": reflect.TypeFor[storeHealth](), "Journal": reflect.TypeFor[journalStats](), "Near": reflect.TypeFor[nearStats](), "Stats": reflect.TypeFor[stats](), "Problem": reflect.TypeFor[problem](),
}

// schemas makes the schemas of described; a type within another is referred to.
func schemas() (map[string]*jsonschema.Schema, error) {
	known := map[reflect.Type]*jsonschema.Schema{
		reflect.TypeFor[time.Time]():         {Type: "string", Format: "date-time"},
		reflect.TypeFor[json.RawMessage]():   {Description: "Any JSON."},
		reflect.TypeFor[jackcache.Version](): {Type: "string", Pattern: "^[0-9a-f]{20}$", Description: "Grows with each write."},
		reflect.TypeFor[jackcache.Status](): {Type: "string", Enum: []any{
			string(jackcache.Healthy), string(jackcache.Degraded), string(jackcache.Unhealthy),
		}},
	}
	for _, name := range []string{"Message", "Key", "Store"} {
		known[described[name]] = &jsonschema.Schema{Ref: schemaRef + name}
	}
	out := make(map[string]*jsonschema.Schema, len(described))
	for name, t := range described {
		ref := known[t]
		delete(known, t)
		s, err := jsonschema.ForType(t, &jsonschema.ForOptions{TypeSchemas: known})
		if err != nil {
			return nil, err
		}
		if ref != nil {
			known[t] = ref
		}
		loosen(s)
		out[name] = s
	}
	return out, nil
}

// loosen takes back what the schema of a Go type says too strictly: no list is
// null here, and later versions add fields.
func loosen(s *jsonschema.Schema) {
	if s == nil {
		return
	}
	if len(s.Types) == 2 && s.Types[1] == "array" {
		s.Type, s.Types = "array", nil
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Not != nil {
		s.AdditionalProperties = nil
	}
	loosen(s.AdditionalProperties)
	loosen(s.Items)
	for _, p := range s.Properties {
		loosen(p)
	}
}

// describeBodies returns the schemas, completed by what the types do not say,
// and the bodies by name.
func (s *Server) describeBodies() (map[string]*jsonschema.Schema, map[string]body, error) {
	all, err := schemas()
	if err != nil {
		return nil, nil, err
	}
	nothingElse := &jsonschema.Schema{Not: &jsonschema.Schema{}}
	conversations := s.a.Cache.Conversations()

	all["Message"].Description = fmt.Sprintf("A message of at most %d bytes. Fields that are not named here are kept as they are.", conversations.MessageBytes)
	all["Message"].Properties["id"].MinLength, all["Message"].Properties["id"].MaxLength = jsonschema.Ptr(1), jsonschema.Ptr(maxPart)
	all["Message"].Properties["role"].MinLength = jsonschema.Ptr(1)

	one := &jsonschema.Schema{Ref: schemaRef + "Message"}
	several := func(least int) *jsonschema.Schema {
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{one, {
			Type: "array", Items: one, MinItems: jsonschema.Ptr(least), MaxItems: jsonschema.Ptr(conversations.Batch),
		}}}
	}
	all["NewMessages"], all["AllMessages"] = several(1), several(0)

	reads := all["Reads"].Properties["reads"]
	reads.MaxItems = jsonschema.Ptr(jackcache.MaxReads)
	reads.Items.AdditionalProperties, all["Reads"].AdditionalProperties = nothingElse, nothingElse
	reads.Items.Properties["last"] = whole(1, jackcache.MaxWindow)

	all["Problem"].Description = "Problem details (RFC 9457)."
	for _, v := range verdicts {
		if name := "/problems/" + v.name; v.status != statusClientGone && !has(all["Problem"].Properties["type"].Enum, name) {
			all["Problem"].Properties["type"].Enum = append(all["Problem"].Properties["type"].Enum, name)
		}
	}
	all["Problem"].Properties["report"] = &jsonschema.Schema{Ref: schemaRef + "ImportReport", Description: "What an import that ended early had done."}
	all["Health"] = &jsonschema.Schema{Ref: schemaRef + "FullHealth"}
	if s.opts.Token != "" {
		all["Health"] = &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Ref: schemaRef + "FullHealth"}, {Ref: schemaRef + "BriefHealth"}}}
	}
	all["Value"] = &jsonschema.Schema{Description: "Any JSON."}
	return all, bodies(all), nil
}

func has(list []any, v any) bool {
	for _, l := range list {
		if l == v {
			return true
		}
	}
	return false
}

// bodies are those that routes name, with their schemas.
func bodies(all map[string]*jsonschema.Schema) map[string]body {
	text := &jsonschema.Schema{Type: "string"}
	out := map[string]body{
		"NewMessages":   {about: "A message, or an array of them."},
		"AllMessages":   {about: "The messages that are there from now on: one, or an array."},
		"Messages":      {about: "The messages.", headers: []string{"Cache-Status", "Age"}},
		"Appended":      {about: "What became of each message. 201 where some were new, else 200; 202 where they wait for the store."},
		"Conversations": {about: "A page of the conversations; an empty cursor says that there are no more."},
		"Forgotten":     {about: "What was deleted."},
		"Summary":       {about: "The summary."},
		"Lead":          {about: "The lead."},
		"Phone":         {about: "The phone."},
		"Link":          {about: "The link, with the phone in E.164 form."},
		"Value":         {about: "The value: any JSON."},
		"Written":       {about: "The version of what was written.", headers: []string{"ETag"}},
		"Reads":         {about: fmt.Sprintf("What to read: at most %d values, of them %d conversations.", jackcache.MaxReads, maxConversations)},
		"Results":       {about: "What the reads found."},
		"Invalidated":   {about: "It is done, or waits."},
		"Accepted":      {about: "It is kept on the server's disk, and waits for the store, which is away."},
		"Cleared":       {about: "It is done: of how many organisations, and about how many keys of the store."},
		"ImportReport":  {about: "What became of the lines: seen = imported + unchanged + setAside + failed."},
		"Keys":          {about: "A page of the keys; an empty cursor says that there are no more."},
		"Key":           {about: "The key and its value. A conversation's value is its messages."},
		"Health":        {about: "How the server is. 503 while it is unhealthy."},
		"Stats":         {about: "Counters since the start; percentiles of the last one to two minutes."},
	}
	for name, b := range out {
		b.schema = &jsonschema.Schema{Ref: schemaRef + name}
		out[name] = b
	}
	for of, about := range map[string]string{"Summary": "The summary.", "Lead": "The lead.", "Phone": "The phone in E.164 form.", "Value": "The value, byte for byte as it came."} {
		b := body{about: about, headers: []string{"ETag", "Cache-Status", "Age"}, schema: out[of].schema}
		if of == "Phone" {
			b.headers = []string{"Cache-Status"}
		}
		out["Stored"+of] = b
	}
	lines := "One JSON object per line; each is a Line."
	out[streamed] = body{about: "NDJSON, plain or gzip, of any length. " + lines, media: asNDJSON[0], schema: text}
	out["ExportedLines"] = body{about: "NDJSON that an import reads. " + lines, media: asNDJSON[0], headers: []string{"Trailer"}, schema: text}
	out["Operations"] = body{about: "A stream that ends when the server stops. Events named operation have a MonitoredOperation, those named summary a MonitorSummary of all that the parameters let through, every five seconds; the last is named end. Comments say that the server is there.", media: asEvents[0], headers: []string{"X-Accel-Buffering"}, schema: text}
	out["Text"] = body{about: "One word, or some lines.", media: asText[0], schema: text}
	out["Page"] = body{about: "A page that loads nothing.", media: asHTML[0], headers: []string{"Content-Security-Policy", "Referrer-Policy"}, schema: text}
	out["Description"] = body{about: "An OpenAPI 3.1 document.", schema: &jsonschema.Schema{Type: "object"}}
	return out
}

func (b body) mediaType() string {
	if b.media == "" {
		return asJSON[0]
	}
	return b.media
}

// content is the body as the description has it, with what was really sent.
func (b body) content(examples map[string]documentSample) map[string]mediaType {
	return map[string]mediaType{b.mediaType(): {Schema: b.schema, Examples: examples}}
}
