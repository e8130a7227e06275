package migrate

import (
	"slices"
	"strings"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
)

// form says how the value of an entry is read.
type form uint8

const (
	rawForm     form = iota // any JSON
	messageForm             // an array of messages
	summaryForm             // a string, or {"text"}
	leadForm                // a string, or {"leadId"}
	phoneForm               // a string, or {"phone"}
)

// target is where the entries of a map go.
type target struct {
	kind string // name; of conversations too
	form form
	id   jackcache.IDForm
	raw  jackcache.RawKind // not for messageForm
	// local kinds stay in the process.
	local bool
}

func (t target) phones() bool {
	return t.id == jackcache.PhoneID || t.id == jackcache.PlusPhoneID
}

// mapNames are what the maps of the assistant that this product serves are
// called, by kind. A kind's own name and its key type are known too.
var mapNames = map[string]string{
	jackcache.ConversationKind: "conversationContexts",
	assistant.SummaryKind:      "conversationSummaries",
	assistant.PhoneToLeadKind:  "phoneToLeadMapping",
	assistant.LeadToPhoneKind:  "leadToPhoneMapping",
	"organizationData":         "organizationCache",
}

var forms = map[string]form{
	assistant.SummaryKind:     summaryForm,
	assistant.PhoneToLeadKind: leadForm,
	assistant.LeadToPhoneKind: phoneForm,
}

// exportedMap is the map that a kind is exported as.
func exportedMap(kind string) string {
	if name, ok := mapNames[kind]; ok {
		return name
	}
	return kind
}

// table knows the maps of a cache by every name that they have.
type table map[string]target

func newTable(c *jackcache.Cache) (table, error) {
	conversations := target{kind: jackcache.ConversationKind, form: messageForm, id: jackcache.PhoneID}
	t := table{
		conversations.kind:              conversations,
		exportedMap(conversations.kind): conversations,
	}
	for name, o := range c.Kinds() {
		raw, err := c.RawKind(name)
		if err != nil {
			return nil, err
		}
		k := target{kind: name, form: forms[name], id: o.ID, raw: raw, local: o.LocalOnly}
		t[name], t[o.KeyType], t[exportedMap(name)] = k, k, k
	}
	return t, nil
}

// names are those that an export uses.
func (t table) names() string {
	var names []string
	for name, k := range t {
		if name == exportedMap(k.kind) && !k.local {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
