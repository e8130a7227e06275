package check

import (
	"errors"
	"strings"

	"github.com/jackcache/jackcache"
)

const (
	rights       = "the user of Redis lacks a right: give it those that 'jackcache acl' prints"
	full         = "the store has no room: raise maxmemory of Redis, or JACKCACHE_EMBEDDED_BYTES, or let fewer things be kept"
	sentinelUser = "set REDIS_SENTINEL_USERNAME and REDIS_SENTINEL_PASSWORD to what the Sentinels know"
	network      = "look at the load of the server and the way to it (redis-cli --latency, SLOWLOG), and at its log"
)

// sentinelHints say what to do about errors of Sentinels, which have users of
// their own.
var sentinelHints = []struct{ words, toDo string }{
	{"NOAUTH", "the Sentinels want a password: set REDIS_SENTINEL_PASSWORD, and REDIS_SENTINEL_USERNAME where the user is not the default one"},
	{"WRONGPASS", sentinelUser},
	{"invalid password", sentinelUser},
	{"NOPERM", "the user of the Sentinels lacks a right: give it those that 'jackcache acl' prints"},
}

// hints say what to do about errors, by words that their texts have; the first
// that fits.
var hints = []struct{ words, toDo string }{
	{"WRONGPASS", "set REDIS_USERNAME and REDIS_PASSWORD to what the server knows"},
	{"NOAUTH", "the server wants a password: set REDIS_PASSWORD, and REDIS_USERNAME where the user is not the default one"},
	{"invalid password", "set REDIS_USERNAME and REDIS_PASSWORD to what the server knows"},
	{"NOPERM", rights},
	{"No permissions", rights},
	{"can't run this command", rights},
	{"ACL failure", rights},
	{"WRONGTYPE", strangers},
	{"not a number", strangers},
	{"is a member of a Cluster", "set REDIS_MODE=cluster"},
	{"cluster support disabled", "the server is no Cluster: set REDIS_MODE=standalone, or sentinel"},
	{"does not know the name", "set REDIS_SENTINEL_MASTER to the name that 'SENTINEL MASTERS' tells"},
	{"unknown command 'SENTINEL'", "REDIS_ADDRS names servers: with REDIS_MODE=sentinel it must name the Sentinels (port 26379)"},
	{"MOVED ", "the server is part of a Cluster: set REDIS_MODE=cluster"},
	{"READONLY", "the server is a replica: name the master, or set REDIS_MODE=sentinel with the addresses of the Sentinels"},
	{"CLUSTERDOWN", "the Cluster does not serve all slots: look at 'redis-cli --cluster check'"},
	{"MISCONF", "the server cannot save its data: look at its log and its disk"},
	{"NOREPLICAS", "too few replicas are in step (min-replicas-to-write): look at INFO replication"},
	{"LOADING", "the server is loading its data: wait until it is done"},
	{"unknown command", "the server does not know a command that is needed: use Redis 6.2 or newer, or Valkey, and look at rename-command in its configuration"},
	{"connection refused", "nothing listens there: start the server, or correct REDIS_HOST and REDIS_PORT (or REDIS_ADDRS)"},
	{"no such host", "correct REDIS_HOST (or REDIS_ADDRS): the name is not known"},
	{"certificate required", "the server wants a certificate of its clients: set REDIS_CERT_FILE and REDIS_KEY_FILE"},
	{"x509", "the certificate is not accepted: look at REDIS_CA_FILE and REDIS_TLS_SERVER_NAME"},
	{"tls", "look at REDIS_TLS, REDIS_CA_FILE, REDIS_CERT_FILE and REDIS_KEY_FILE"},
	{"the store rejects the entry", rights + "; or " + strangers},
	{"store is full", full},
	{"OOM command not allowed", full},
	{"no space left", "make room on the disk"},
}

// classHints say what to do about errors by their class.
var classHints = []struct {
	class error
	toDo  string
}{
	{jackcache.ErrFull, full},
	{jackcache.ErrCorrupt, strangers},
	{jackcache.ErrNotFound, strangers},
	{jackcache.ErrUnavailable, network},
	{jackcache.ErrUnknown, network},
}

// hint says what to do about a failure.
func (s *session) hint(err error) string {
	if f := (*fault)(nil); errors.As(err, &f) {
		return f.toDo
	}
	if strings.Contains(err.Error(), "no Sentinel knows the master") {
		for _, h := range sentinelHints {
			if strings.Contains(err.Error(), h.words) {
				return h.toDo
			}
		}
	}
	for _, h := range hints {
		if strings.Contains(err.Error(), h.words) {
			return h.toDo
		}
	}
	for _, h := range classHints {
		if errors.Is(err, h.class) {
			return h.toDo
		}
	}
	if s.o.Cache.Redis == nil {
		return "look at the disk and the rights of JACKCACHE_DATA_DIR"
	}
	return network
}
