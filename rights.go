package jackcache

import (
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/redisstore"
)

// Rights are what users of Redis have to be allowed, as rules of ACL SETUSER for
// a user who is allowed nothing: keys and commands. No rule can be left out, and
// no channel is needed.
type Rights struct {
	// Servers are those of RedisOptions.Username.
	Servers []string
	// Sentinels are those of SentinelOptions.Username; nil in another mode.
	Sentinels []string
}

// Rights returns what a cache with these options needs. Options without Redis are
// taken for those of a standalone server. Errors: ErrInvalid, for any option.
func (o Options) Rights() (Rights, error) {
	if o.Redis == nil {
		o.Redis = &RedisOptions{}
	}
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return Rights{}, err
	}
	space, err := keys.NewSpace(o.environment())
	if err != nil {
		return Rights{}, err
	}
	r := Rights{Servers: redisstore.Rights(space, redisstore.Mode(o.Redis.Mode), o.Redis.DB)}
	if o.Redis.Mode == Sentinel {
		r.Sentinels = redisstore.SentinelRights()
	}
	return r, nil
}

// environment is that of the key prefix.
func (o Options) environment() string {
	if o.Production {
		return keys.Prod
	}
	return keys.Dev
}
