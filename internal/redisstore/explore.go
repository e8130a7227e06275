package redisstore

import (
	"context"
	"strings"

	"github.com/redis/rueidis"

	"github.com/jackcache/jackcache/internal/store"
)

// trial is a command that callers will need.
type trial struct {
	name string
	cmd  rueidis.Completed
}

// trials are harmless forms of the commands, on a key of their own, which is
// gone afterwards.
func trials(b rueidis.Builder, key string) []trial {
	return []trial{
		{"EVAL", b.Eval().Script("return 1").Numkeys(1).Key(key).Build()},
		{"TIME", b.Time().Build()},
		{"GET", b.Get().Key(key).Build()},
		{"MGET", b.Mget().Key(key).Build()},
		{"GETRANGE", b.Getrange().Key(key).Start(0).End(1).Build()},
		{"STRLEN", b.Strlen().Key(key).Build()},
		{"PTTL", b.Pttl().Key(key).Build()},
		{"DEL", b.Del().Key(key).Build()},
		{"RPUSH", b.Rpush().Key(key).Element("x").Build()},
		{"LRANGE", b.Lrange().Key(key).Start(0).Stop(0).Build()},
		{"LINDEX", b.Lindex().Key(key).Index(0).Build()},
		{"LLEN", b.Llen().Key(key).Build()},
		{"LTRIM", b.Ltrim().Key(key).Start(1).Stop(0).Build()},
		{"HSET", b.Hset().Key(key).FieldValue().FieldValue("f", "1").Build()},
		{"HGET", b.Hget().Key(key).Field("f").Build()},
		{"HMGET", b.Hmget().Key(key).Field("f").Build()},
		{"HGETALL", b.Hgetall().Key(key).Build()},
		{"HLEN", b.Hlen().Key(key).Build()},
		{"HINCRBY", b.Hincrby().Key(key).Field("f").Increment(1).Build()},
		{"HDEL", b.Hdel().Key(key).Field("f").Build()},
		{"ZADD", b.Zadd().Key(key).ScoreMember().ScoreMember(1, "m").Build()},
		{"ZRANGE", b.Zrange().Key(key).Min("0").Max("0").Build()},
		{"ZREMRANGEBYRANK", b.Zremrangebyrank().Key(key).Start(0).Stop(-1).Build()},
		{"EXISTS", b.Exists().Key(key).Build()},
		{"SCAN", b.Scan().Cursor(0).Match(key).Count(1).Build()},
		{"PEXPIREAT", b.Pexpireat().Key(key).MillisecondsTimestamp(1).Build()},
	}
}

// explore tries what callers will need, so that a right that is missing is told
// at the start and not by the first caller.
func (n *node) explore(ctx context.Context, c rueidis.Client, o *store.Offers) {
	// The braces keep it in the slot of the probe, which is the node's.
	key := n.s.opts.Space.Prefix() + "__try:{" + *n.probe.Load() + "}"
	tried := trials(c.B(), key)
	cmds := make(rueidis.Commands, len(tried))
	for i, t := range tried {
		cmds[i] = t.cmd
	}
	o.Missing = nil
	for i, r := range c.DoMulti(ctx, cmds...) {
		if refused(r.Error()) {
			o.Missing = append(o.Missing, tried[i].name)
		}
	}
	o.Tracking = n.tracking(ctx)
	if o.Persistence == "" {
		o.Persistence = persistence(ctx, c)
	}
}

// refused reports whether a server does not know a command or forbids it.
func refused(err error) bool {
	return err != nil && isReply(err) &&
		(strings.HasPrefix(err.Error(), "NOPERM") || strings.Contains(err.Error(), "unknown command"))
}

func isReply(err error) bool {
	_, ok := rueidis.IsRedisErr(err)
	return ok
}

// tracking reports whether the server tells a client of changes.
//
// See https://redis.io/docs/latest/develop/reference/client-side-caching/
func (n *node) tracking(ctx context.Context) bool {
	// On a connection of its own, which tells nobody of its end: tracking is
	// switched on for a moment.
	c, err := n.s.connect(server{
		addr: n.addr, access: n.s.opts.Access, ring: askRingScale, read: askBuffer, write: askBuffer,
		onEnd: func([]rueidis.RedisMessage) {},
	})
	if err != nil {
		return false
	}
	defer c.Close()
	rs := c.DoMulti(ctx,
		c.B().ClientTracking().On().Prefix().Prefix(n.s.opts.Space.Prefix()).Bcast().Build(),
		c.B().ClientTracking().Off().Build())
	return rs[0].Error() == nil && rs[1].Error() == nil
}

// persistence reports whether a server without an append-only file makes
// snapshots; INFO does not say it.
func persistence(ctx context.Context, c rueidis.Client) string {
	config, err := c.Do(ctx, c.B().ConfigGet().Parameter("save").Build()).AsStrMap()
	switch {
	case err != nil: // managed services have no CONFIG
		return "unknown"
	case config["save"] == "":
		return "none"
	}
	return "rdb"
}
