package redistest

import (
	"crypto/tls"
	"strings"
	"testing"
)

// Security is who may use servers, and how they are reached. The zero value is
// everybody, without TLS.
type Security struct {
	// Password is the default user's. Servers use it among themselves, and
	// Server.Do uses it. It has no blanks or quotes: a Sentinel would not write
	// them to its file so that it can read them again.
	Password string

	// User, with UserPassword and Rules, is one more user: "alice", "secret",
	// "~jack:* &* +@all". No User means none.
	User, UserPassword, Rules string

	// TLS makes servers accept nothing else, replicas and the bus of a Cluster
	// included. nil means no TLS.
	TLS *Certificates
	// ClientCerts makes servers ask for a certificate of TLS's authority.
	ClientCerts bool
}

// StartSecure is Start of a server with security.
func StartSecure(t testing.TB, sec Security, args ...string) *Server {
	t.Helper()
	s, err := LaunchSecure(t.TempDir(), sec, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// LaunchSecure is Launch of a server with security.
func LaunchSecure(dir string, sec Security, args ...string) (*Server, error) {
	return launch(dir, setup{args: append(sec.args(), args...), tls: sec.client()})
}

// args returns the options of a server.
func (s Security) args() []string {
	args := s.users()
	if s.Password != "" {
		args = append(args, "--masterauth", s.Password)
	}
	if s.TLS != nil {
		args = append(args, s.TLS.args()...)
		args = append(args, "--tls-replication", "yes", "--tls-cluster", "yes", "--tls-auth-clients", s.authClients())
	}
	return args
}

// users returns the options that a server and a Sentinel share.
func (s Security) users() []string {
	var args []string
	if s.Password != "" {
		args = append(args, "--requirepass", s.Password)
	}
	if s.User != "" {
		args = append(args, "--user", s.User, "on", ">"+s.UserPassword)
		args = append(args, strings.Fields(s.Rules)...)
	}
	return args
}

func (s Security) authClients() string {
	if s.ClientCerts {
		return "yes"
	}
	return "no"
}

func (s Security) client() *tls.Config {
	if s.TLS == nil {
		return nil
	}
	return s.TLS.ClientConfig()
}

func (c *Certificates) args() []string {
	return []string{
		"--tls-ca-cert-file", c.CAFile,
		"--tls-cert-file", c.CertFile, "--tls-key-file", c.KeyFile,
		"--tls-client-cert-file", c.ClientCertFile, "--tls-client-key-file", c.ClientKeyFile,
	}
}
