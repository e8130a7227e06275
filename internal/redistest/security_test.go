package redistest

import (
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func certificates(t *testing.T) *Certificates {
	t.Helper()
	c, err := NewCertificates(filepath.Join(t.TempDir(), "tls"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// everything is a Security with all that there is.
func everything(t *testing.T) Security {
	t.Helper()
	return Security{
		Password: "default-pw", User: "alice", UserPassword: "alice-pw", Rules: "~jack:* &* +@all",
		TLS: certificates(t), ClientCerts: true,
	}
}

func TestTLS(t *testing.T) {
	sec := Security{TLS: certificates(t), ClientCerts: true}
	s := StartSecure(t, sec, "--appendonly", "yes")
	mustDo(t, s, "SET", "k", "v")
	s.Stop()
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	if got := mustDo(t, s, "GET", "k"); got != "v" {
		t.Errorf("after a restart k = %q", got)
	}
	if _, err := (access{addr: s.Addr()}).do("PING"); err == nil {
		t.Error("the server answers without TLS")
	}
	var unknown x509.UnknownAuthorityError
	stranger := access{addr: s.Addr(), tls: certificates(t).ClientConfig()}
	if _, err := stranger.do("PING"); !errors.As(err, &unknown) {
		t.Errorf("with another authority: %v", err)
	}
	bare := access{addr: s.Addr(), tls: sec.TLS.ClientConfig()}
	bare.tls.Certificates = nil
	if _, err := bare.do("PING"); err == nil {
		t.Error("the server answers without a client certificate")
	}
	named := access{addr: s.Addr(), tls: sec.TLS.ClientConfig()}
	named.tls.ServerName = "localhost"
	if _, err := named.do("PING"); err != nil {
		t.Errorf("as localhost: %v", err)
	}
}

func TestTLSWithoutClientCertificates(t *testing.T) {
	sec := Security{TLS: certificates(t)}
	a := access{addr: StartSecure(t, sec).Addr(), tls: sec.TLS.ClientConfig()}
	a.tls.Certificates = nil
	if _, err := a.do("PING"); err != nil {
		t.Error(err)
	}
}

func TestUser(t *testing.T) {
	s := StartSecure(t, Security{Password: "p", User: "alice", UserPassword: "secret", Rules: "~jack:* +get"})
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	if got := mustDo(t, s, "ACL", "WHOAMI"); got != "default" {
		t.Errorf("Do is the user %q", got)
	}
	c, err := access{addr: s.Addr()}.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if _, err := c.do("AUTH", "alice", "secret"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.do("GET", "jack:x"); err != nil {
		t.Error(err)
	}
	for _, command := range []string{"GET other", "SET jack:x 1"} {
		if _, err := c.do(strings.Fields(command)...); err == nil || !strings.HasPrefix(err.Error(), "NOPERM") {
			t.Errorf("%s gave %v", command, err)
		}
	}
}

func TestSecureCluster(t *testing.T) {
	t.Parallel()
	c := StartCluster(t, ClusterOptions{NodeTimeout: 2 * time.Second, Security: everything(t)})
	slot := Slot("k")
	from, to := c.MasterOf(slot), c.MasterOf((slot+Slots/2)%Slots)
	mustDo(t, from, "SET", "k", "v")
	if err := c.MoveSlots(from, to, slot, slot); err != nil {
		t.Fatal(err)
	}
	if got := mustDo(t, to, "GET", "k"); got != "v" {
		t.Errorf("after the move k = %q", got)
	}
	if err := c.Failover(c.ReplicaOf(to)); err != nil {
		t.Fatal(err)
	}
	if err := to.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitOK(joinTime); err != nil {
		t.Fatal(err)
	}
}

func TestSecureReplicated(t *testing.T) {
	t.Parallel()
	r, err := LaunchReplicated(t.TempDir(), ReplicatedOptions{Replicas: 1, Security: everything(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	if err := r.Promote(r.Servers()[1]); err != nil {
		t.Fatal(err)
	}
	if err := r.Master().Restart(); err != nil {
		t.Fatal(err)
	}
	if err := r.WaitReady(startTime); err != nil {
		t.Fatal(err)
	}
	if got := r.Master(); got != r.Servers()[1] {
		t.Errorf("the master is %s", got.Addr())
	}
}

func TestSecureSentinel(t *testing.T) {
	with := everything(t)
	without := Security{}
	others := everything(t)
	others.Password = "sentinel-pw"
	for _, c := range []struct {
		name               string
		servers, sentinels Security
	}{
		{"both alike", with, with},
		{"each its own", with, others},
		{"only servers", with, without},
		{"only sentinels", without, with},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := StartSentinel(t, SentinelOptions{
				Replicas: 1, DownAfter: 2 * time.Second, Security: c.servers, SentinelSecurity: c.sentinels,
			})
			if err := s.Sentinels()[0].Restart(); err != nil {
				t.Fatal(err)
			}
			if err := s.Failover(); err != nil {
				t.Fatal(err)
			}
			if s.Master() != s.Servers()[1] {
				t.Errorf("the master is %s", s.Master().Addr())
			}
			for _, one := range append(s.Servers(), s.Sentinels()...) {
				if err := rejects(one); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// rejects returns an error when a server with a password answers without.
func rejects(s *Server) error {
	a := s.access()
	if a.password == "" {
		return nil
	}
	a.password = ""
	if _, err := a.do("PING"); err == nil || !strings.HasPrefix(err.Error(), "NOAUTH") {
		return fmt.Errorf("%s without its password: %v", s.Addr(), err)
	}
	return nil
}
