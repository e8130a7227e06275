package credentials

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// identity is a certificate with its key.
type identity struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	// chain are the certificates in PEM, its own first.
	chain string
}

// issue makes a certificate that by signs; nil: it signs itself.
func issue(t *testing.T, by *identity, change func(*x509.Certificate)) *identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: t.Name()},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	change(c)
	signer := &identity{cert: c, key: key}
	if by != nil {
		signer = by
	}
	der, err := x509.CreateCertificate(rand.Reader, c, signer.cert, &key.PublicKey, signer.key)
	if err != nil {
		t.Fatal(err)
	}
	id := &identity{key: key, chain: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
	if id.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	if by != nil {
		id.chain += by.chain
	}
	return id
}

func authority(c *x509.Certificate) {
	c.IsCA, c.KeyUsage, c.ExtKeyUsage = true, x509.KeyUsageCertSign, nil
}

func forHost(c *x509.Certificate) {
	c.DNSNames, c.IPAddresses = []string{"redis.internal"}, []net.IP{net.IPv4(10, 0, 0, 1)}
}

func (i *identity) keyPEM(t *testing.T) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(i.key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func (i *identity) pair(t *testing.T) tls.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair([]byte(i.chain), []byte(i.keyPEM(t)))
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// shake connects to a server and returns the certificate that the server saw.
func shake(t *testing.T, client *tls.Config, host string, server *tls.Config) (*x509.Certificate, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	client = client.Clone()
	if client.ServerName == "" {
		client.ServerName = host
	}
	type end struct {
		err  error
		seen *x509.Certificate
	}
	ended := make(chan end, 1)
	go func() {
		defer far.Close()
		conn := tls.Server(far, server)
		e := end{err: conn.HandshakeContext(t.Context())}
		if peers := conn.ConnectionState().PeerCertificates; len(peers) > 0 {
			e.seen = peers[0]
		}
		if e.err == nil {
			_, e.err = conn.Write([]byte("x"))
		}
		ended <- e
	}()
	conn := tls.Client(near, client)
	err = conn.HandshakeContext(t.Context())
	if err == nil {
		_, err = conn.Read(make([]byte, 1)) // where a refusal of the client shows
	}
	near.Close()
	e := <-ended
	return e.seen, err
}

func TestServersAreVerified(t *testing.T) {
	dir := t.TempDir()
	ca, other := issue(t, nil, authority), issue(t, nil, authority)
	between := issue(t, ca, authority)
	file := write(t, filepath.Join(dir, "ca.pem"), ca.chain)
	expired := func(c *x509.Certificate) { forHost(c); c.NotAfter = time.Now().Add(-time.Minute) }
	clientOnly := func(c *x509.Certificate) {
		forHost(c)
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	for _, tt := range []struct {
		name, host, serverName string
		server                 *identity
		wrong                  string // part of the error; empty: none
	}{
		{"by name", "redis.internal", "", issue(t, ca, forHost), ""},
		{"by address", "10.0.0.1", "", issue(t, ca, forHost), ""},
		{"by the name that was set", "10.9.9.9", "redis.internal", issue(t, ca, forHost), ""},
		{"through another authority", "redis.internal", "", issue(t, between, forHost), ""},
		{"another name", "evil.internal", "", issue(t, ca, forHost), "not evil.internal"},
		{"another address", "10.0.0.2", "", issue(t, ca, forHost), "not 10.0.0.2"},
		{"another name than was set", "redis.internal", "a.internal", issue(t, ca, forHost), "not a.internal"},
		{"another authority", "redis.internal", "", issue(t, other, forHost), "unknown authority"},
		{"its own authority", "redis.internal", "", issue(t, nil, forHost), "unknown authority"},
		{"expired", "redis.internal", "", issue(t, ca, expired), "expired"},
		{"of a client", "redis.internal", "", issue(t, ca, clientOnly), "key usage"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := NewTLS(Files{CA: file}, tt.serverName)
			if err != nil {
				t.Fatal(err)
			}
			_, err = shake(t, c.Current(slog.New(slog.DiscardHandler)), tt.host, &tls.Config{Certificates: []tls.Certificate{tt.server.pair(t)}})
			if tt.wrong == "" && err != nil || tt.wrong != "" && (err == nil || !strings.Contains(err.Error(), tt.wrong)) {
				t.Errorf("%v, want %q", err, tt.wrong)
			}
		})
	}
}

// Without files the authorities are those that the host trusts.
func TestNoFiles(t *testing.T) {
	c, err := NewTLS(Files{}, "")
	if err != nil {
		t.Fatal(err)
	}
	server := issue(t, issue(t, nil, authority), forHost)
	_, err = shake(t, c.Current(slog.New(slog.DiscardHandler)), "redis.internal", &tls.Config{Certificates: []tls.Certificate{server.pair(t)}})
	if !errors.As(err, new(*tls.CertificateVerificationError)) {
		t.Errorf("%v", err)
	}
}

// Certificates are exchanged while the process runs; half of an exchange leaves
// those of before in force.
func TestCertificatesAreReadAgain(t *testing.T) {
	dir := t.TempDir()
	ca1, ca2 := issue(t, nil, authority), issue(t, nil, authority)
	nobody := func(*x509.Certificate) {}
	mine1, mine2 := issue(t, ca1, nobody), issue(t, ca2, nobody)
	f := Files{CA: filepath.Join(dir, "ca"), Cert: filepath.Join(dir, "cert"), Key: filepath.Join(dir, "key")}
	write(t, f.CA, ca1.chain)
	write(t, f.Cert, mine1.chain)
	write(t, f.Key, mine1.keyPEM(t))
	log, lines := logged()
	c, err := NewTLS(f, "")
	if err != nil {
		t.Fatal(err)
	}
	server := func(ca *identity) *tls.Config {
		pool := x509.NewCertPool()
		pool.AddCert(ca.cert)
		return &tls.Config{
			Certificates: []tls.Certificate{issue(t, ca, forHost).pair(t)},
			ClientCAs:    pool, ClientAuth: tls.RequireAndVerifyClientCert,
		}
	}
	server1, server2 := server(ca1), server(ca2)
	lets := func(s *tls.Config, want *identity) {
		t.Helper()
		seen, err := shake(t, c.Current(log), "10.0.0.1", s)
		if want == nil {
			if err == nil {
				t.Error("the other server was believed")
			}
		} else if err != nil || !seen.Equal(want.cert) {
			t.Errorf("%v", err)
		}
	}
	lets(server1, mine1)
	lets(server2, nil)
	if before := c.Current(log); before != c.Current(log) {
		t.Error("what has not changed is made anew")
	}

	write(t, f.Cert, mine2.chain) // the key is still the other one
	lets(server1, mine1)
	write(t, f.CA, "no certificate")
	lets(server1, mine1)
	write(t, f.CA, ca2.chain)
	write(t, f.Key, mine2.keyPEM(t))
	lets(server2, mine2)
	lets(server1, nil)
	if err := os.Remove(f.Key); err != nil {
		t.Fatal(err)
	}
	lets(server2, mine2)
	got := lines()
	if len(got) != 4 {
		t.Fatalf("%d lines, want one for each change:\n%s", len(got), strings.Join(got, ""))
	}
	for i, want := range []string{"private key does not match public key", "no certificate in it", "was exchanged", "no such file"} {
		if !strings.Contains(got[i], want) {
			t.Errorf("line %d is %s, want %q", i, got[i], want)
		}
	}
}

// A certificate of this process is shown whatever authorities the server names.
func TestTheServerTellsWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	ca, other := issue(t, nil, authority), issue(t, nil, authority)
	mine := issue(t, other, func(*x509.Certificate) {})
	c, err := NewTLS(Files{
		CA:   write(t, filepath.Join(dir, "ca"), ca.chain),
		Cert: write(t, filepath.Join(dir, "cert"), mine.chain), Key: write(t, filepath.Join(dir, "key"), mine.keyPEM(t)),
	}, "")
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	_, err = shake(t, c.Current(slog.New(slog.DiscardHandler)), "10.0.0.1", &tls.Config{
		Certificates: []tls.Certificate{issue(t, ca, forHost).pair(t)}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	})
	if err == nil || !strings.Contains(err.Error(), "unknown certificate authority") {
		t.Errorf("%v", err)
	}
}

func TestChecks(t *testing.T) {
	dir := t.TempDir()
	ca := issue(t, nil, authority)
	a, b := issue(t, ca, forHost), issue(t, ca, forHost)
	cert, key := write(t, filepath.Join(dir, "cert"), a.chain), write(t, filepath.Join(dir, "key"), a.keyPEM(t))
	otherKey := write(t, filepath.Join(dir, "other"), b.keyPEM(t))
	junk := write(t, filepath.Join(dir, "junk"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
	none := filepath.Join(dir, "none")
	_, noCert := CheckCert(none)
	_, junkCert := CheckCert(junk)
	_, keyAsCert := CheckCert(key)
	for _, tt := range []struct {
		what string
		err  error
		want string // empty: no error
	}{
		{"CA", CheckCA(cert), ""}, {"no CA", CheckCA(none), "no such file"}, {"a key as CA", CheckCA(key), "no certificate in it"},
		{"junk as CA", CheckCA(junk), "no certificate in it"},
		{"no certificate", noCert, "no such file"}, {"junk", junkCert, "malformed certificate"}, {"a key", keyAsCert, "no certificate in it"},
		{"key", CheckKey(cert, key), ""}, {"no key", CheckKey(cert, none), "no such file"},
		{"another key", CheckKey(cert, otherKey), "does not match"}, {"a certificate as key", CheckKey(cert, cert), "PRIVATE KEY"},
		{"the certificate is wrong", CheckKey(junk, key), ""}, {"the certificate is missing", CheckKey(none, key), ""},
	} {
		if (tt.err == nil) != (tt.want == "") || tt.err != nil && (!strings.Contains(tt.err.Error(), tt.want) || strings.Contains(tt.err.Error(), dir)) {
			t.Errorf("%s: %v, want %q", tt.what, tt.err, tt.want)
		}
	}
	if until, err := CheckCert(cert); err != nil || !until.Equal(a.cert.NotAfter) {
		t.Errorf("until %v, %v", until, err)
	}
}
