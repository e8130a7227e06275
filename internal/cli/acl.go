package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/jackcache/jackcache"
)

// defaultUser is the user whom 'jackcache acl' names where the settings name none.
const defaultUser = "jackcache"

// aclOptions are the flags of 'jackcache acl'.
type aclOptions struct {
	user      string // empty: that of the settings
	sentinels bool
	hash      bool
}

func (a *app) aclCommand() *cobra.Command {
	var o aclOptions
	cmd := &cobra.Command{
		Use:   "acl",
		Short: "Print the rights that the user of Redis needs",
		Long: `Prints the command that gives a user of Redis the rights that jackcache needs with
the settings in force, and no others: the keys of NODE_ENV, no channels, and the
commands of REDIS_MODE. Send it to every server, replicas included, as a user who
may; it takes the place of what the user was allowed before. In mode sentinel,
--sentinels prints the same for the Sentinels.

It asks no server. The password stands as PASSWORD in it; --hash puts the SHA-256 of
the password in the settings there instead, which Redis takes as well. Who sees it
can try passwords against it.

client|tracking is what copies in the process need (JACKCACHE_NEAR_BYTES): with it Redis
tells which keys changed, of the keys that the user may see. Without the right all
works, every read asks Redis, and 'jackcache health' says so.

At its start jackcache tries a few more commands, to tell what the server offers:
CONFIG GET save, and what leaves the connection on which CLIENT TRACKING was tried
(DISCARD, UNSUBSCRIBE). They are refused, which does no harm and shows in ACL LOG.`,
		Example: `  jackcache acl
  jackcache acl --user cache --hash | redis-cli -h redis.internal --user admin --askpass
  REDIS_MODE=sentinel REDIS_SENTINEL_MASTER=main jackcache acl --sentinels`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.acl(o) },
	}
	cmd.Flags().StringVar(&o.user, "user", "", "name of the user (default that of the settings, else "+defaultUser+")")
	cmd.Flags().BoolVar(&o.sentinels, "sentinels", false, "print the rights on the Sentinels")
	cmd.Flags().BoolVar(&o.hash, "hash", false, "print the SHA-256 of the password in the settings")
	return cmd
}

func (a *app) acl(o aclOptions) error {
	s, err := a.settings(toAsk)
	if err != nil {
		return err
	}
	rights, err := s.rights()
	if err != nil {
		return err
	}
	mode := value[string](s, "REDIS_MODE")
	env, rules := "REDIS", rights.Servers
	if o.sentinels {
		env, rules = "REDIS_SENTINEL", rights.Sentinels
		if mode != sentinel {
			return usage("--sentinels wants REDIS_MODE=sentinel: it is " + mode)
		}
	}
	configured, password := s.accessOf(o.sentinels)
	user := firstOf(o.user, configured, defaultUser)
	if strings.ContainsFunc(user, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == '"' || r == '\'' }) {
		return usage(fmt.Sprintf("--user is %q: allowed are names without blanks and quotes", user))
	}
	secret := ">PASSWORD"
	if o.hash {
		if secret, err = s.hashed(env, password); err != nil {
			return err
		}
	}
	line := strings.Join(append([]string{"ACL", "SETUSER", user, "reset", "on", secret, "resetchannels"}, rules...), " ")
	if a.json {
		return a.printJSON(struct {
			User    string   `json:"user"`
			Rules   []string `json:"rules"`
			Command string   `json:"command"`
		}{user, rules, line})
	}
	if configured != user {
		a.say("the settings name another user: set %s_USERNAME=%s", env, user)
	}
	if mode == sentinel && !o.sentinels {
		a.say("for the Sentinels: jackcache acl --sentinels")
	}
	_, err = fmt.Fprintln(a.out, line)
	return err
}

// hashed is a password in the form that Redis takes beside the password itself.
func (s *settings) hashed(env, password string) (string, error) {
	if err := s.ofStore.err(); password == "" && err != nil {
		return "", err // a file may be why there is none
	}
	if password == "" {
		return "", usage(fmt.Sprintf("--hash wants a password: set %s_PASSWORD or %s_PASSWORD_FILE", env, env))
	}
	sum := sha256.Sum256([]byte(password))
	return "#" + hex.EncodeToString(sum[:]), nil
}

// rights are those that the settings need, whether Redis is named or not.
func (s *settings) rights() (jackcache.Rights, error) {
	r := jackcache.RedisOptions{Mode: jackcache.RedisMode(value[string](s, "REDIS_MODE")), DB: s.db()}
	// What the master is called makes no difference.
	r.Sentinel.Master = firstOf(value[string](s, "REDIS_SENTINEL_MASTER"), "master")
	rights, err := jackcache.Options{Production: value[string](s, "NODE_ENV") == production, Redis: &r}.Rights()
	if err != nil {
		return rights, usage(plain(err))
	}
	return rights, nil
}

// accessOf is the user and the password of the servers, or of the Sentinels.
func (s *settings) accessOf(sentinels bool) (user, password string) {
	file := s.keys.password
	if user, password = s.user(); sentinels {
		user, password = value[string](s, "REDIS_SENTINEL_USERNAME"), value[string](s, "REDIS_SENTINEL_PASSWORD")
		file = s.keys.sentinelPassword
	}
	if file != nil {
		password = file.Held()
	}
	return user, password
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
