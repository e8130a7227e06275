package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackcache/jackcache"
)

const (
	// peerTTL is the life of a value in Redis, nearTTL that in the process, where a
	// peer tells them apart.
	peerTTL = time.Hour
	nearTTL = 5 * time.Minute
	// nearBytes is what an entry counts where a near tier is bounded in bytes.
	nearBytes = 6000
	// peerDeadline is that of calls, connections and answers where Redis hangs.
	peerDeadline = 250 * time.Millisecond
)

// errAbsent: there is no value.
var errAbsent = errors.New("absent")

// talk is the value that all peers keep: the messages of a conversation.
type talk = []benchMessage

// view is a value as a peer hands it out: one of the two is set.
type view struct {
	talk     talk
	messages []jackcache.Message
}

func (v view) size() int { return len(v.talk) + len(v.messages) }

func (v view) ids() []string {
	ids := make([]string, 0, v.size())
	for _, m := range v.talk {
		ids = append(ids, m.ID)
	}
	for _, m := range v.messages {
		ids = append(ids, m.ID)
	}
	return ids
}

// newest is the id of the last message, which tells versions of a talk apart.
func (v view) newest() string {
	switch {
	case len(v.talk) > 0:
		return v.talk[len(v.talk)-1].ID
	case len(v.messages) > 0:
		return v.messages[len(v.messages)-1].ID
	}
	return ""
}

// peerClient is one instance of a peer, with a near tier of its own if the peer has
// one. Safe for concurrent use.
type peerClient interface {
	// Get returns errAbsent where there is nothing.
	Get(ctx context.Context, id string) (view, error)
	Set(ctx context.Context, id string, t talk) error
	Close()
}

// loads is a client that calls a loader for what is absent, and keeps what it
// returns. For others getOrLoad does what is written around them.
type loads interface {
	Load(ctx context.Context, id string, load func() (talk, error)) (view, error)
}

// appends is a client that appends without reading first. For others
// appendMessage does what is written around them.
type appends interface {
	Append(ctx context.Context, id string, m benchMessage) error
	// Appended returns what was appended.
	Appended(ctx context.Context, id string) (view, error)
}

// config is how an instance is opened.
type config struct {
	Addr string // of Redis
	Dir  string // for files; empty
	Near int    // entries of the near tier
	// Hurried bounds connections and answers by peerDeadline and repeats nothing;
	// the product has its defaults. Otherwise nobody gives up before 10 s.
	Hurried bool
}

// peer is a product that is compared.
type peer struct {
	name string
	// hands tells what a near hit hands out.
	hands string
	open  func(config) (peerClient, error)
	// declines are the scenes that it cannot play, and why.
	declines map[string]string
	// node is its name in node/peer.js; empty: it runs in this process.
	node string
	// speaks: a write of the mix is an append of one message.
	speaks bool
}

// peers in the order of the table.
var peers = []*peer{
	jackcacheValue, jackcacheTalk,
	rueidisPlain, rueidisCached, rueidisAside,
	goredisPlain, goredisCached, gorediscache, gocachePeer, jetcachePeer,
	sturdycPeer, otterPeer, bentocachePeer, ioredisPeer,
}

// noNear is why a client without a near tier declines to hit it.
const noNear = "keeps nothing in the process"

// talkIDs are the ids of values: phone numbers, because conversations have those.
var talkIDs = sync.OnceValue(func() []string {
	ids := make([]string, peerTalks)
	for i := range ids {
		ids[i] = talkPhone(i)
	}
	return ids
})

// peerTalks is how many conversations scenes spread over.
const peerTalks = 10_000

// talks are different values of about 5 kB.
var talks = sync.OnceValue(func() []talk {
	all := make([]talk, 64)
	for i := range all {
		all[i] = conversation(20, uint64(i))
	}
	return all
})

// marked is a talk whose newest message has an id.
func marked(id string) talk {
	t := append(talk(nil), talks()[0]...)
	t[len(t)-1].ID = id
	return t
}

// getOrLoad is the peer's own, or: read, load, write.
func getOrLoad(ctx context.Context, c peerClient, id string, load func() (talk, error)) (view, error) {
	if l, ok := c.(loads); ok {
		return l.Load(ctx, id, load)
	}
	v, err := c.Get(ctx, id)
	if !errors.Is(err, errAbsent) {
		return v, err
	}
	t, err := load()
	if err != nil {
		return view{}, err
	}
	return view{talk: t}, c.Set(ctx, id, t)
}

// appendMessage is the peer's own, or: read, add what is not there yet, write.
func appendMessage(ctx context.Context, c peerClient, id string, m benchMessage) error {
	if a, ok := c.(appends); ok {
		return a.Append(ctx, id, m)
	}
	v, err := c.Get(ctx, id)
	if err != nil && !errors.Is(err, errAbsent) {
		return err
	}
	for _, have := range v.talk {
		if have.ID == m.ID {
			return nil
		}
	}
	// A near tier may have handed out what others read, too.
	return c.Set(ctx, id, append(append(talk(nil), v.talk...), m))
}

// appended reads what appendMessage wrote.
func appended(ctx context.Context, c peerClient, id string) (view, error) {
	if a, ok := c.(appends); ok {
		return a.Appended(ctx, id)
	}
	return c.Get(ctx, id)
}

// settle waits until an instance answers: some open before they are connected.
func settle(c peerClient) error {
	var err error
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_, err = c.Get(ctx, "+16045550000")
		cancel()
		if err == nil || errors.Is(err, errAbsent) {
			return nil
		}
	}
	return fmt.Errorf("it does not answer: %w", err)
}

// fillTalks writes the first n values with many callers.
func fillTalks(c peerClient, n int) error {
	ids, values := talkIDs(), talks()
	return inParallel(64, n, func(i int) error {
		return insist(func() error { return c.Set(context.Background(), ids[i], values[i%len(values)]) })
	})
}

// inParallel calls do with 0 to n-1 from so many callers, and returns an error of
// one of them.
func inParallel(callers, n int, do func(i int) error) error {
	var wg sync.WaitGroup
	errs := make([]error, callers)
	for c := range callers {
		wg.Go(func() {
			for i := c; i < n && errs[c] == nil; i += callers {
				errs[c] = do(i)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
