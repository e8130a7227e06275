package jackcache_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/internal/redistest"
)

const (
	cacheUser     = "cache"
	cachePassword = "secret"
)

// rights are those of a cache, one rule each.
func rights(t testing.TB, r jackcache.RedisOptions) jackcache.Rights {
	t.Helper()
	got, err := jackcache.Options{Redis: &r}.Rights()
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// allow makes the user on a server, with these rules and no others.
func allow(t testing.TB, server *redistest.Server, rules []string) {
	t.Helper()
	do(t, server, append([]string{"ACL", "SETUSER", cacheUser, "reset", "on", ">" + cachePassword, "resetchannels"}, rules...)...)
}

// asUser opens an instance as the user, and closes it when the function returns.
func asUser(t testing.TB, r jackcache.RedisOptions, use func(a *assistant.Assistant)) {
	t.Helper()
	r.Username, r.Password = cacheUser, cachePassword
	a, err := assistant.Open(t.Context(), jackcache.Options{
		DataDir: t.TempDir(), Redis: &r, Budget: 10 * time.Second, Kinds: []jackcache.AnyKind{cars}, Directory: true,
		Logger: slog.New(slog.DiscardHandler),
	}, assistant.TTLs{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := a.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	}()
	use(a)
}

// exercise calls every operation that takes another command or another way
// through a script.
func exercise(ctx context.Context, a *assistant.Assistant) error {
	org, p := a.Cache.Org("a"), "+16049085474"
	conv := org.Conversation(p)
	var errs []error
	try := func(what string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		}
	}
	for batch := range 20 { // more ids than are remembered
		var messages []jackcache.Message
		for i := range 100 {
			messages = append(messages, message(fmt.Sprintf("%d-%d", batch, i), "x"))
		}
		if _, err := conv.Append(ctx, messages...); err != nil {
			try("append", err)
			break
		}
	}
	_, err := conv.Append(ctx, message("19-99", "another content"))
	if !errors.Is(err, jackcache.ErrConflict) {
		try("append of a conflict", fmt.Errorf("%w, want a conflict", err))
	}
	_, err = conv.Messages(ctx, jackcache.ReadOptions{Last: 3})
	try("messages", err)
	_, err = conv.Import(ctx, jackcache.Message{ID: "i", Role: "user", Timestamp: time.Now().Add(-time.Second)})
	try("import", err)
	_, err = conv.Replace(ctx, message("r", "x"))
	try("replace", err)
	try("link", a.Link(ctx, org, p, "lead"))
	_, err = cars.Set(ctx, org, "1", car{Make: "x"})
	try("set", err)
	_, err = cars.Set(ctx, org, "2", car{Make: "x"}, jackcache.IfAbsent())
	try("set if absent", err)
	_, err = cars.Get(ctx, org, "1")
	try("get", err)
	_, err = cars.GetOrLoad(ctx, org, "3", func(context.Context) (car, error) { return car{Make: "y"}, nil })
	try("load", err)
	try("delete", cars.Delete(ctx, org, "1"))
	for _, kind := range []string{jackcache.ConversationKind, assistant.PhoneToLeadKind} {
		page, err := org.List(ctx, jackcache.ListQuery{Kind: kind})
		try("list", err)
		if err == nil && len(page.Entries) == 0 {
			try("list", fmt.Errorf("no %s", kind))
		}
	}
	_, err = a.Kinds.LeadData.Set(ctx, org, "lead", json.RawMessage(`{"name":"Jo"}`))
	try("set lead data", err)
	_, err = org.Forget(ctx, p)
	try("forget", err)
	try("invalidate", org.Invalidate(ctx))
	return errors.Join(errs...)
}

// refusals are the commands that a server refused to the user.
func refusals(t testing.TB, server *redistest.Server) []string {
	t.Helper()
	var refused []string
	lines := strings.Split(do(t, server, "ACL", "LOG"), "\n")
	for i, line := range lines[:len(lines)-1] {
		if strings.TrimSpace(line) == "object" {
			refused = append(refused, strings.TrimSpace(lines[i+1]))
		}
	}
	slices.Sort(refused)
	return slices.Compact(refused)
}

// beyond are commands that are only tried, to tell what a server offers, and
// what the client sends after them.
var beyond = []string{"config|get", "discard", "punsubscribe", "sunsubscribe", "unsubscribe"}

// deployment is servers whose users the tests change.
type deployment struct {
	redis   jackcache.RedisOptions
	servers []*redistest.Server
	// watchers are Sentinels.
	watchers []*redistest.Server
}

// let gives the user rights on all servers, and forgets what was there.
func (d deployment) let(t testing.TB, r jackcache.Rights) {
	t.Helper()
	for _, s := range d.servers {
		allow(t, s, r.Servers)
		do(t, s, "ACL", "LOG", "RESET")
		if strings.Contains(do(t, s, "ROLE"), "master") {
			do(t, s, "FLUSHALL")
			do(t, s, "SCRIPT", "FLUSH")
		}
	}
	for _, s := range d.watchers {
		allow(t, s, r.Sentinels)
		do(t, s, "ACL", "LOG", "RESET")
	}
}

func (d deployment) refusals(t testing.TB) []string {
	t.Helper()
	var all []string
	for _, s := range slices.Concat(d.servers, d.watchers) {
		all = append(all, refusals(t, s)...)
	}
	return all
}

// enough fails the test if the rights are not.
func (d deployment) enough(t *testing.T, r jackcache.Rights, use func(*assistant.Assistant) error) {
	t.Helper()
	d.let(t, r)
	asUser(t, d.redis, func(a *assistant.Assistant) {
		if err := use(a); err != nil {
			t.Error(err)
		}
		eventually(t, 20*time.Second, "health is good", func() bool { return a.Cache.Health().Status == jackcache.Healthy })
	})
	for _, refused := range d.refusals(t) {
		if !slices.Contains(beyond, refused) {
			t.Errorf("%s was refused", refused)
		}
	}
}

// needed fails the test if nobody notices that rule is missing: no call fails,
// health does not tell, and the servers refuse nothing.
func (d deployment) needed(t *testing.T, rule string, less jackcache.Rights, use func(*assistant.Assistant) error) {
	t.Helper()
	d.let(t, less)
	asUser(t, d.redis, func(a *assistant.Assistant) {
		if err := use(a); err != nil || a.Cache.Health().Status != jackcache.Healthy {
			return
		}
		eventually(t, 10*time.Second, rule+" is noticed to be missing", func() bool {
			return slices.Contains(d.refusals(t), strings.TrimPrefix(rule, "+"))
		})
	})
}

func without(rules []string, rule string) []string {
	return slices.DeleteFunc(slices.Clone(rules), func(r string) bool { return r == rule })
}

// The rights that 'jackcache acl' prints are enough, and none is too much.
func TestRights(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	d := deployment{redis: jackcache.RedisOptions{Addrs: []string{server.Addr()}, DB: 1}, servers: []*redistest.Server{server}}
	all := rights(t, d.redis)
	use := func(a *assistant.Assistant) error { return exercise(t.Context(), a) }
	d.enough(t, all, use)
	for _, rule := range all.Servers {
		t.Run("without "+rule, func(t *testing.T) {
			d.needed(t, rule, jackcache.Rights{Servers: without(all.Servers, rule)}, use)
		})
	}
	if all.Sentinels != nil {
		t.Errorf("rights on Sentinels: %q", all.Sentinels)
	}
}

// What a Cluster needs beyond that.
func TestRightsInCluster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, redistest.ClusterOptions{})
	d := deployment{redis: jackcache.RedisOptions{Mode: jackcache.Cluster, Addrs: c.Addrs()}, servers: c.Nodes()}
	all := rights(t, d.redis)
	use := func(a *assistant.Assistant) error {
		return errors.Join(exercise(t.Context(), a), whileMoving(t, c, a))
	}
	d.enough(t, all, use)
	more := slices.DeleteFunc(slices.Clone(all.Servers), func(rule string) bool {
		return slices.Contains(rights(t, jackcache.RedisOptions{}).Servers, rule)
	})
	if !slices.Equal(more, []string{"+asking", "+cluster|slots", "+cluster|info"}) {
		t.Errorf("more than elsewhere: %q", more)
	}
	for _, rule := range more {
		t.Run("without "+rule, func(t *testing.T) {
			d.needed(t, rule, jackcache.Rights{Servers: without(all.Servers, rule)}, use)
		})
	}
}

// whileMoving reads a conversation whose slot is on its way to another master.
func whileMoving(t *testing.T, c *redistest.Cluster, a *assistant.Assistant) error {
	t.Helper()
	key := a.Cache.KeyPrefix() + "conversationContexts:moving:16049085474"
	slot := redistest.Slot(key)
	from := c.MasterOf(slot)
	to := c.Masters()[0]
	if to == from {
		to = c.Masters()[1]
	}
	set := func(s *redistest.Server, args ...string) {
		do(t, s, append([]string{"CLUSTER", "SETSLOT", fmt.Sprint(slot)}, args...)...)
	}
	set(to, "IMPORTING", do(t, from, "CLUSTER", "MYID"))
	set(from, "MIGRATING", do(t, to, "CLUSTER", "MYID"))
	_, err := a.Cache.Org("moving").Conversation("+16049085474").Messages(t.Context(), jackcache.ReadOptions{})
	set(from, "STABLE")
	set(to, "STABLE")
	return err
}

// What Sentinels have to allow, and that they see nothing of the servers' user.
func TestRightsOnSentinels(t *testing.T) {
	t.Parallel()
	s := redistest.StartSentinel(t, redistest.SentinelOptions{Replicas: 1})
	d := deployment{
		redis: jackcache.RedisOptions{
			Mode: jackcache.Sentinel, Addrs: s.Addrs(),
			Sentinel: jackcache.SentinelOptions{Master: s.MasterName(), Username: cacheUser, Password: cachePassword},
		},
		servers: s.Servers(), watchers: s.Sentinels(),
	}
	all := rights(t, d.redis)
	if !slices.Equal(all.Servers, rights(t, jackcache.RedisOptions{}).Servers) {
		t.Errorf("rights on servers: %q", all.Servers)
	}
	use := func(a *assistant.Assistant) error { return exercise(t.Context(), a) }
	d.enough(t, all, use)
	// PING is sent only where nothing else was answered for a while.
	for _, rule := range without(all.Sentinels, "+ping") {
		t.Run("without "+rule, func(t *testing.T) {
			d.needed(t, rule, jackcache.Rights{Servers: all.Servers, Sentinels: without(all.Sentinels, rule)}, use)
		})
	}
}
