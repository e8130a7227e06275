package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/journal"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

const (
	// journalTalks is how many conversations, of journalOrgs organisations, appends
	// to journals spread over.
	journalTalks = 20_000
	journalOrgs  = 20
	// journalCallers append at the same time, and share syncs.
	journalCallers = 64
)

// journalCost tells what the second copy of a write costs while Redis answers:
// two caches without a journal, whose difference is chance, and one with.
func (e *environment) journalCost() ([]contest, error) {
	var appends, sets []contender
	for _, who := range []struct {
		name string
		mode jackcache.JournalMode
	}{{"without journal", jackcache.JournalOff}, {"without journal, again", jackcache.JournalOff}, {"jackcache, with journal", jackcache.JournalRequired}} {
		a, err := assistant.Open(context.Background(), jackcache.Options{
			DataDir: filepath.Join(e.dir, who.name), Kinds: []jackcache.AnyKind{rawKind}, Logger: slog.New(slog.DiscardHandler), Budget: 10 * time.Second,
			Redis:   &jackcache.RedisOptions{Addrs: []string{e.redis.Addr()}},
			Journal: jackcache.JournalOptions{Mode: who.mode},
		}, assistant.TTLs{})
		if err != nil {
			return nil, err
		}
		e.closeLater(a)
		org := a.Cache.Org("journalled")
		appends = append(appends, contender{name: who.name, run: func(ctx context.Context, n int) error {
			return say(ctx, org.Conversation(fmt.Sprintf("+1604555%04d", n%500)), strconv.Itoa(n))
		}})
		sets = append(sets, contender{name: who.name, run: kindSet(rawKind, org, json.RawMessage(value5k()))})
	}
	return []contest{
		{name: "journal/cost: append of 150 B", callers: journalCallers, goal: "CPU ≤ 1.2", contenders: appends, serverCPU: e.redis.CPU},
		{name: "journal/cost: set of 5 kB", callers: journalCallers, goal: "CPU ≤ 1.2", contenders: sets, serverCPU: e.redis.CPU},
	}, nil
}

// closeLater closes a cache at the end of the run.
func (e *environment) closeLater(a *assistant.Assistant) {
	e.closers = append(e.closers, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = a.Close(ctx) // its Redis is gone by now
	})
}

// groupCommit compares durable appends while there is no Redis with a loop that
// writes and syncs the same bytes, always those of all callers at once.
func (e *environment) groupCommit() ([]contest, error) {
	dir := filepath.Join(e.dir, "group")
	r, err := newRig(dir, jackcache.Options{Budget: time.Second})
	if err != nil {
		return nil, err
	}
	e.closers = append(e.closers, r.close)
	r.redis.Kill()
	var orgs [journalOrgs]jackcache.Org
	for i := range orgs {
		orgs[i] = r.Cache.Org(fmt.Sprintf("org-%d", i))
	}
	throughCache := func(ctx context.Context, n int) error {
		return say(ctx, orgs[n%journalOrgs].Conversation(talkPhone(n)), strconv.Itoa(n))
	}
	size, err := recordSize(r, throughCache)
	if err != nil {
		return nil, err
	}
	perfect, err := e.perfectSync(dir, size*journalCallers)
	if err != nil {
		return nil, err
	}
	alone, err := e.appendAlone(filepath.Join(dir, "alone"))
	if err != nil {
		return nil, err
	}
	return []contest{{
		name: fmt.Sprintf("journal/group commit, %d B each, Redis killed", size), callers: journalCallers, goal: "≥ 50,000/s or ≥ 0.5",
		contenders: []contender{
			{name: "write and fsync of 64 at a time", run: perfect, each: journalCallers},
			{name: "the journal alone", run: alone},
			{name: "jackcache", run: throughCache},
		},
	}}, nil
}

func talkPhone(n int) string { return fmt.Sprintf("+160455%05d", n%journalTalks) }

// recordSize returns how many bytes of the journal an append takes.
func recordSize(r *rig, appendOne operation) (int, error) {
	const n = 1000
	before := r.Cache.Stats().Journal.Bytes
	for range n {
		if err := appendOne(context.Background(), int(serial.Add(1))); err != nil {
			return 0, err
		}
	}
	return int(r.Cache.Stats().Journal.Bytes-before) / n, nil
}

// perfectSync returns an operation that writes and syncs so many bytes.
func (e *environment) perfectSync(dir string, size int) (operation, error) {
	f, err := os.Create(filepath.Join(dir, "perfect"))
	if err != nil {
		return nil, err
	}
	e.closers = append(e.closers, func() { _ = f.Close() }) // a file of the bench
	var mu sync.Mutex
	block := make([]byte, size)
	return func(context.Context, int) error {
		mu.Lock()
		defer mu.Unlock()
		if _, err := f.Write(block); err != nil {
			return err
		}
		return f.Sync()
	}, nil
}

// appendAlone returns an operation that appends a pending record, as the cache
// does, to a journal in dir.
func (e *environment) appendAlone(dir string) (operation, error) {
	space, err := keys.NewSpace(keys.Dev)
	if err != nil {
		return nil, err
	}
	j, err := openJournal(dir, space)
	if err != nil {
		return nil, err
	}
	e.closers = append(e.closers, func() { _ = j.Close(context.Background()) }) // thrown away
	records, err := talkRecords(space, journalTalks)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, n int) error {
		rec := records[n%len(records)]
		at := time.Now()
		rec.Time, rec.Op.ExpiresAt = at, at.Add(2*time.Hour)
		rec.Op.Version = clock.NewVersion(at.UnixMilli(), uint16(n), 1)
		return j.Append(ctx, true, &rec)
	}, nil
}

func openJournal(dir string, space keys.Space) (*journal.Journal, error) {
	return journal.Open(journal.Options{
		Dir: dir, Space: space, MaxBytes: jackcache.DefaultJournalBytes, Window: jackcache.DefaultJournalWindow,
		Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	})
}

// talkRecords makes a pending append of one message for each of n conversations.
func talkRecords(space keys.Space, n int) ([]journal.Record, error) {
	payload, err := json.Marshal(conversation(1, 3)[0])
	if err != nil {
		return nil, err
	}
	all := make([]journal.Record, n)
	for i := range all {
		org, err := keys.ParseOrg(fmt.Sprintf("org-%d", i%journalOrgs))
		if err != nil {
			return nil, err
		}
		id, err := keys.ParseID(fmt.Sprintf("160455%05d", i))
		if err != nil {
			return nil, err
		}
		all[i] = journal.Record{Kind: journal.Pending, Op: store.Op{
			Action: store.Append, Mode: store.Merge, Key: space.Key(keys.Conversations, org, id),
			Window:   store.Window{Messages: jackcache.DefaultWindow, Bytes: jackcache.DefaultWindowBytes, Slack: 32, IDs: 1000},
			Messages: []store.Message{{ID: "SM01234567-" + strconv.Itoa(i), Payload: payload}},
		}}
	}
	return all, nil
}
