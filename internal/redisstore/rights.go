package redisstore

import (
	"slices"
	"strings"

	"github.com/jackcache/jackcache/internal/keys"
)

// commands are all that this package sends to servers on keys or without them,
// in scripts and outside, in every mode. AUTH and HELLO need no right.
var commands = strings.Fields(`
	ping time info eval evalsha scan client|tracking
	get mget set del getrange strlen exists pttl pexpireat
	lrange lindex llen rpush ltrim
	hget hmget hgetall hset hdel hincrby hlen
	zadd zrange zremrangebyrank`)

var (
	// inCluster are the commands that only a Cluster is sent.
	inCluster = []string{"asking", "cluster|slots", "cluster|info"}
	// toSentinels are the commands that Sentinels are sent: PING where none of the
	// others was answered for a while.
	toSentinels = []string{"ping", "sentinel|get-master-addr-by-name", "sentinel|master"}
)

// Rights returns what the user of the servers has to be allowed, as rules of ACL
// SETUSER for a user who is allowed nothing: keys and commands. The caller may
// change it.
//
// See https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/
func Rights(space keys.Space, mode Mode, db int) []string {
	names := slices.Clone(commands)
	if mode == Cluster {
		names = append(names, inCluster...)
	}
	if db != 0 {
		names = append(names, "select")
	}
	return append([]string{"~" + space.Prefix() + "*"}, allowed(names)...)
}

// SentinelRights is Rights for the user of the Sentinels. They have no keys.
func SentinelRights() []string { return allowed(toSentinels) }

func allowed(names []string) []string {
	rules := make([]string, len(names))
	for i, name := range names {
		rules[i] = "+" + name
	}
	return rules
}
