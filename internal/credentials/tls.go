package credentials

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Files are what a TLS connection is made with, in PEM. Empty: none.
type Files struct {
	// CA has the certificates of the authorities to trust, instead of those that
	// the host trusts.
	CA string
	// Cert and Key are this process's own certificate, followed by those between
	// it and its authority, and the private key. Both or none.
	Cert, Key string
}

// TLS is how connections are encrypted. Safe for concurrent use.
type TLS struct{ files source[*tls.Config] }

// NewTLS reads the files for the first time. ServerName is the name to look for
// in the certificates of servers; empty: the host that is dialled.
func NewTLS(f Files, serverName string) (*TLS, error) {
	t := &TLS{source[*tls.Config]{
		what:  "the TLS configuration",
		parse: func(contents [][]byte) (*tls.Config, error) { return f.parse(contents, serverName) },
	}}
	for _, path := range []string{f.CA, f.Cert, f.Key} {
		if path != "" {
			t.files.paths = append(t.files.paths, path)
		}
	}
	if err := t.files.open(); err != nil {
		return nil, err
	}
	return t, nil
}

// Current returns the configuration by what the files hold now, or held last
// where they cannot be used. The same one is returned until they change; callers
// clone it to change it. It logs one line for each change.
func (t *TLS) Current(log *slog.Logger) *tls.Config { return t.files.current(log) }

func (f Files) parse(contents [][]byte, serverName string) (*tls.Config, error) {
	c := &tls.Config{ServerName: serverName, MinVersion: tls.VersionTLS12}
	if f.CA != "" {
		var err error
		if c.RootCAs, err = parseCA(contents[0]); err != nil {
			return nil, fmt.Errorf("%s: %w", f.CA, err)
		}
		contents = contents[1:]
	}
	if f.Cert == "" {
		return c, nil
	}
	pair, err := parsePair(contents[0], contents[1])
	if err != nil {
		return nil, fmt.Errorf("%s with %s: %w", f.Cert, f.Key, err)
	}
	// Whatever authorities the server names: it can tell what is wrong with this
	// certificate, but not why none came.
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	return c, nil
}

// CheckCA tells what is wrong with a file of authorities, without naming it; nil:
// nothing.
func CheckCA(path string) error {
	content, err := read(path)
	if err == nil {
		_, err = parseCA(content)
	}
	return err
}

// CheckCert tells what is wrong with a file of a certificate, without naming it;
// nil: nothing. Until is when the certificate expires.
func CheckCert(path string) (until time.Time, err error) {
	content, err := read(path)
	if err != nil {
		return until, err
	}
	cert, err := parseCert(content)
	if err != nil {
		return until, err
	}
	return cert.NotAfter, nil
}

// CheckKey tells what is wrong with the private key of a certificate, without
// naming its file; nil: nothing, or it is the certificate that is wrong.
func CheckKey(cert, key string) error {
	private, err := read(key)
	if err != nil {
		return err
	}
	public, err := read(cert)
	if err != nil {
		return nil
	}
	if _, err := parseCert(public); err != nil {
		return nil
	}
	_, err = tls.X509KeyPair(public, private)
	return err
}

func parseCA(content []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		return nil, errors.New("there is no certificate in it")
	}
	return pool, nil
}

// parseCert returns the first certificate.
func parseCert(content []byte) (*x509.Certificate, error) {
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			return x509.ParseCertificate(block.Bytes)
		}
	}
	return nil, errors.New("there is no certificate in it")
}

func parsePair(cert, key []byte) (tls.Certificate, error) {
	if _, err := parseCert(cert); err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(cert, key)
}
