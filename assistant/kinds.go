// Package assistant is the vocabulary of an AI assistant that answers customers
// of many businesses: its kinds with their lives, summaries, and the mapping
// between phones and leads.
package assistant

import (
	"encoding/json"
	"time"

	"github.com/jackcache/jackcache"
)

// TTLs are the lives of the kinds. Zero fields mean the default in the comment.
type TTLs struct {
	Summary            time.Duration // 2 h
	Lead               time.Duration // of the mapping between phone and lead: 2 h
	LeadData           time.Duration // 5 min
	History            time.Duration // 2 min
	Organization       time.Duration // 2 min
	AgentConfig        time.Duration // 1 h
	PreComputedContext time.Duration // 2 min
	SSEResponse        time.Duration // 10 s
}

func (t TTLs) withDefaults() TTLs {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&t.Summary, 2*time.Hour)
	set(&t.Lead, 2*time.Hour)
	set(&t.LeadData, 5*time.Minute)
	set(&t.History, 2*time.Minute)
	set(&t.Organization, 2*time.Minute)
	set(&t.AgentConfig, time.Hour)
	set(&t.PreComputedContext, 2*time.Minute)
	set(&t.SSEResponse, 10*time.Second)
	return t
}

// Names of the kinds, in stats and HTTP paths.
const (
	SummaryKind     = "conversationSummary"
	PhoneToLeadKind = "phoneToLead"
	LeadToPhoneKind = "leadToPhone"
)

// Summary is the summary of a conversation.
type Summary struct {
	Text string `json:"text"`
}

// Lead says which lead a phone belongs to.
type Lead struct {
	LeadID string `json:"leadId"`
}

// Phone says which phone a lead has.
type Phone struct {
	Phone string `json:"phone"`
}

// Kinds are the kinds of an assistant. Make them with NewKinds; hand All to
// jackcache.Open.
type Kinds struct {
	Summary            *jackcache.Kind[Summary]
	PhoneToLead        *jackcache.Kind[Lead]  // the truth
	LeadToPhone        *jackcache.Kind[Phone] // a hint, verified on read
	LeadData           *jackcache.Kind[json.RawMessage]
	History            *jackcache.Kind[json.RawMessage]
	Organization       *jackcache.Kind[json.RawMessage]
	AgentConfig        *jackcache.Kind[json.RawMessage]
	PreComputedContext *jackcache.Kind[json.RawMessage]
	SSEResponse        *jackcache.Kind[json.RawMessage] // stays in the process
}

// NewKinds declares the kinds.
func NewKinds(t TTLs) Kinds {
	t = t.withDefaults()
	raw := func(o jackcache.KindOptions) *jackcache.Kind[json.RawMessage] {
		return jackcache.NewKind[json.RawMessage](o)
	}
	return Kinds{
		Summary: jackcache.NewKind[Summary](jackcache.KindOptions{
			Name: SummaryKind, KeyType: "conversationSummaries", ID: jackcache.PhoneID, TTL: t.Summary,
		}),
		PhoneToLead: jackcache.NewKind[Lead](jackcache.KindOptions{
			Name: PhoneToLeadKind, ID: jackcache.PlusPhoneID, TTL: t.Lead, Directory: true,
		}),
		LeadToPhone: jackcache.NewKind[Phone](jackcache.KindOptions{
			Name: LeadToPhoneKind, ID: jackcache.LeadID, TTL: t.Lead,
		}),
		LeadData:    raw(jackcache.KindOptions{Name: "leadData", KeyType: "lead", ID: jackcache.LeadID, TTL: t.LeadData, Derived: true, ServeStale: true}),
		History:     raw(jackcache.KindOptions{Name: "conversationHistory", KeyType: "history", ID: jackcache.PhoneID, TTL: t.History, Derived: true, ServeStale: true}),
		AgentConfig: raw(jackcache.KindOptions{Name: "agentConfig", TTL: t.AgentConfig, Derived: true, ServeStale: true}),
		Organization: raw(jackcache.KindOptions{
			Name: "organizationData", KeyType: "organization", ID: jackcache.NoID, TTL: t.Organization, Derived: true, ServeStale: true,
		}),
		PreComputedContext: raw(jackcache.KindOptions{
			Name: "preComputedContext", KeyType: "precomputed", ID: jackcache.PhoneID, TTL: t.PreComputedContext, Derived: true, ServeStale: true,
		}),
		SSEResponse: raw(jackcache.KindOptions{Name: "sseResponse", KeyType: "sse", TTL: t.SSEResponse, LocalOnly: true}),
	}
}

// All returns the kinds for jackcache.Options.Kinds.
func (k Kinds) All() []jackcache.AnyKind {
	return []jackcache.AnyKind{
		k.Summary, k.PhoneToLead, k.LeadToPhone, k.LeadData, k.History, k.Organization,
		k.AgentConfig, k.PreComputedContext, k.SSEResponse,
	}
}
