package cli

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tlsOf is the configuration of the next connection to a server and to a Sentinel,
// in words.
func tlsOf(t *testing.T, s *settings) string {
	t.Helper()
	o, words := s.redis(nil), []string{}
	for name, current := range map[string]func() (*tls.Config, error){"server": o.CurrentTLS, "sentinel": o.Sentinel.CurrentTLS} {
		if current == nil {
			continue
		}
		c, err := current()
		if err != nil {
			t.Fatal(err)
		}
		word := name + " " + c.ServerName
		if c.RootCAs != nil {
			word += " ca"
		}
		if c.GetClientCertificate != nil {
			word += " certificate"
		}
		if c.InsecureSkipVerify {
			word += " unverified"
		}
		words = append(words, word)
	}
	slices.Sort(words)
	return strings.Join(words, ", ")
}

func TestTLSSettings(t *testing.T) {
	certs, other := newCertificates(t), newCertificates(t)
	files := []string{"REDIS_CA_FILE=" + certs.CAFile, "REDIS_CERT_FILE=" + certs.ClientCertFile, "REDIS_KEY_FILE=" + certs.ClientKeyFile}
	for _, tt := range []struct {
		name string
		env  []string
		want string // where nothing is wrong
		err  string // part of it
	}{
		{"none", []string{"REDIS_HOST=h"}, "", ""},
		{"on", []string{"REDIS_HOST=h", "REDIS_TLS=on"}, "server ", ""},
		{"by URL", []string{"REDIS_URL=rediss://h"}, "server ", ""},
		{"all", append(files, "REDIS_HOST=h", "REDIS_TLS=on", "REDIS_TLS_SERVER_NAME=n"), "server n ca certificate", ""},
		{"Sentinels as the servers", append(files, "REDIS_URL=rediss://h", "REDIS_MODE=sentinel", "REDIS_SENTINEL_MASTER=m"),
			"sentinel  ca certificate, server  ca certificate", ""},
		{"Sentinels without", []string{"REDIS_URL=rediss://h", "REDIS_MODE=sentinel", "REDIS_SENTINEL_MASTER=m", "REDIS_SENTINEL_TLS=off"}, "server ", ""},
		{"Sentinels alone", append(files, "REDIS_HOST=h", "REDIS_MODE=sentinel", "REDIS_SENTINEL_MASTER=m", "REDIS_SENTINEL_TLS=on"),
			"sentinel  ca certificate", ""},
		{"another key", append(files, "REDIS_HOST=h", "REDIS_TLS=on", "REDIS_KEY_FILE="+other.ClientKeyFile), "",
			"REDIS_KEY_FILE is \"" + other.ClientKeyFile + "\" (environment): tls: private key does not match public key; allowed is a file with the private key"},
		{"a key as certificate", append(files, "REDIS_HOST=h", "REDIS_TLS=on", "REDIS_CERT_FILE="+certs.ClientKeyFile), "",
			"REDIS_CERT_FILE is \"" + certs.ClientKeyFile + "\" (environment): there is no certificate in it"},
		{"half", []string{"REDIS_HOST=h", "REDIS_TLS=on", "REDIS_CERT_FILE=" + certs.ClientCertFile}, "", "belong together"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, wrong := given(t, tt.env...)
			if tt.err == "" && wrong != "" || !strings.Contains(wrong, tt.err) {
				t.Fatalf("wrong: %q, want %q", wrong, tt.err)
			}
			if tt.err != "" {
				return
			}
			if got := tlsOf(t, s); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// Passwords of files are those of their own user, each.
func TestPasswordFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"server", "sentinel"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name+" secret\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, wrong := given(t, "REDIS_URL=redis://u@h", "REDIS_PASSWORD_FILE="+filepath.Join(dir, "server"), "REDIS_MODE=sentinel",
		"REDIS_SENTINEL_MASTER=m", "REDIS_SENTINEL_USERNAME=su", "REDIS_SENTINEL_PASSWORD_FILE="+filepath.Join(dir, "sentinel"))
	if wrong != "" {
		t.Fatal(wrong)
	}
	o := s.redis(nil)
	user, password, err := o.Credentials()
	if user != "u" || password != "server secret" || err != nil {
		t.Errorf("%q, %q, %v", user, password, err)
	}
	user, password, err = o.Sentinel.Credentials()
	if user != "su" || password != "sentinel secret" || err != nil {
		t.Errorf("%q, %q, %v", user, password, err)
	}
}
