// Package jackcache keeps the working state of an AI assistant that answers for
// many organisations: conversations, summaries, lead mappings and whatever
// else it would keep in maps of its process. It keeps every organisation apart,
// shares the state between servers through Redis, and runs on an embedded file
// where there is no Redis.
//
//	cache, err := jackcache.Open(ctx, jackcache.Options{DataDir: "data"})
//	conv := cache.Org("org-123").Conversation("+1 604 908 5474")
//	_, err = conv.Append(ctx, jackcache.Message{ID: "SM1", Role: "user", Content: "hi"})
//	t, err := conv.Messages(ctx, jackcache.ReadOptions{Last: 20})
//
// Values of other kinds are typed:
//
//	var agents = jackcache.NewKind[Agent](jackcache.KindOptions{Name: "agentConfig", TTL: time.Hour})
//	a, err := agents.GetOrLoad(ctx, cache.Org("org-123"), "sales", loadAgent)
//
// Package assistant declares the kinds of such an assistant, package httpapi
// serves them over HTTP.
package jackcache
