package cli

import (
	"crypto/tls"
	"fmt"
	"time"

	"github.com/jackcache/jackcache/internal/credentials"
)

// keyring are the files of passwords and certificates that are set; nil: none.
type keyring struct {
	password, sentinelPassword *credentials.Password
	tls                        *credentials.TLS
}

// credentials gives the password of a file to each new connection; nil where
// there is no file.
func (keyring) credentials(p *credentials.Password, user string, log logger) func() (string, string, error) {
	if p == nil {
		return nil
	}
	return func() (string, string, error) { return user, p.Current(log), nil }
}

// config gives what the files hold to each new connection.
func (k keyring) config(log logger) func() (*tls.Config, error) {
	return func() (*tls.Config, error) { return k.tls.Current(log), nil }
}

// checkPasswords finds files of passwords that are no use, and passwords that are
// said twice.
func (s *settings) checkPasswords(p *problems) {
	s.keys.password = s.passwordFile(p, "REDIS_PASSWORD")
	s.keys.sentinelPassword = s.passwordFile(p, "REDIS_SENTINEL_PASSWORD")
}

func (s *settings) passwordFile(p *problems, env string) *credentials.Password {
	path := value[string](s, env+"_FILE")
	if path == "" {
		return nil
	}
	if s.set(env) {
		p.add("%s and %s_FILE are both set: remove one", env, env)
	}
	if s.useless(p, env+"_FILE", credentials.CheckPassword(path)) {
		return nil
	}
	password, err := credentials.NewPassword(path)
	if err != nil { // it changed this moment
		s.useless(p, env+"_FILE", err)
	}
	return password
}

// useless reports a file that cannot be used.
func (s *settings) useless(p *problems, env string, err error) bool {
	if err == nil {
		return false
	}
	for row := range all {
		if row.env == env {
			p.add("%s is %s (%s): %v; allowed is %s", env, row.shown(value[string](s, env)), s.source(row), err, row.value.allowed())
		}
	}
	return true
}

// tls reports whether connections to the servers are encrypted.
func (s *settings) tls() bool {
	return value[bool](s, "REDIS_TLS") || value[redisServers](s, "REDIS_URL").tls
}

// sentinelTLS reports the same of the Sentinels. Who encrypts the one means the
// other, too: the addresses of a rediss:// URL are those of Sentinels.
func (s *settings) sentinelTLS() bool {
	if s.set("REDIS_SENTINEL_TLS") {
		return value[bool](s, "REDIS_SENTINEL_TLS")
	}
	return s.tls()
}

// checkTLS finds files of certificates that are no use, and ones for nothing.
func (s *settings) checkTLS(p *problems) {
	encrypted := s.tls() || value[string](s, "REDIS_MODE") == sentinel && s.sentinelTLS()
	for _, env := range []string{"REDIS_CA_FILE", "REDIS_CERT_FILE", "REDIS_KEY_FILE", "REDIS_TLS_SERVER_NAME"} {
		if s.set(env) && !encrypted {
			p.add("%s is set, but TLS is off: set REDIS_TLS=on, write rediss:// in REDIS_URL, or remove it", env)
		}
	}
	before := len(p.lines)
	f := credentials.Files{
		CA: value[string](s, "REDIS_CA_FILE"), Cert: value[string](s, "REDIS_CERT_FILE"), Key: value[string](s, "REDIS_KEY_FILE"),
	}
	s.checkFiles(p, f)
	if !encrypted || len(p.lines) > before {
		return
	}
	var err error
	if s.keys.tls, err = credentials.NewTLS(f, value[string](s, "REDIS_TLS_SERVER_NAME")); err != nil { // they changed this moment
		p.add("TLS to Redis: %v", err)
	}
}

func (s *settings) checkFiles(p *problems, f credentials.Files) {
	if f.CA != "" {
		s.useless(p, "REDIS_CA_FILE", credentials.CheckCA(f.CA))
	}
	if (f.Cert == "") != (f.Key == "") {
		p.add("REDIS_CERT_FILE and REDIS_KEY_FILE belong together: set both, or none")
	}
	if f.Cert != "" {
		until, err := credentials.CheckCert(f.Cert)
		if !s.useless(p, "REDIS_CERT_FILE", err) && time.Now().After(until) {
			s.warnings = append(s.warnings, fmt.Sprintf("the certificate in REDIS_CERT_FILE expired at %s", until.Format(time.RFC3339)))
		}
	}
	switch {
	case f.Key != "" && f.Cert != "":
		s.useless(p, "REDIS_KEY_FILE", credentials.CheckKey(f.Cert, f.Key))
	case f.Key != "":
		s.useless(p, "REDIS_KEY_FILE", credentials.CheckReadable(f.Key))
	}
}
