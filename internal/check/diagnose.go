package check

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"github.com/jackcache/jackcache"
)

// diagnoseTime bounds an exchange that finds out what a server speaks.
const diagnoseTime = 2 * time.Second

// diagnose finds out why a server does not answer as it should: whether it speaks
// TLS, and whether that is what is wanted of it. Empty: that is not the reason.
func diagnose(ctx context.Context, r *jackcache.RedisOptions) string {
	of, err := encryption(r.TLS, r.CurrentTLS)
	if r.Mode == jackcache.Sentinel {
		of, err = encryption(r.Sentinel.TLS, r.Sentinel.CurrentTLS)
	}
	if err != nil {
		return "look at REDIS_CA_FILE, REDIS_CERT_FILE and REDIS_KEY_FILE: " + err.Error()
	}
	for _, addr := range r.Addrs {
		c, err := connected(ctx, r.Dial, addr)
		if err != nil {
			continue
		}
		switch plain := answered(c); {
		case plain && of != nil:
			return "the server does not speak TLS: set REDIS_TLS=off (and REDIS_SENTINEL_TLS for Sentinels), or its tls-port as REDIS_PORT"
		case plain:
			return ""
		}
		if c, err = connected(ctx, r.Dial, addr); err != nil {
			continue
		}
		// Nothing is told to whoever it is.
		err = tls.Client(c, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(ctx)
		_ = c.Close() // nothing was sent
		switch {
		case err != nil:
		case of == nil:
			return "the server speaks TLS: set REDIS_TLS=on (and REDIS_SENTINEL_TLS for Sentinels)"
		case len(of.Certificates) == 0 && of.GetClientCertificate == nil:
			return "the server may want a certificate of its clients (tls-auth-clients): set REDIS_CERT_FILE and REDIS_KEY_FILE"
		}
	}
	return ""
}

func connected(ctx context.Context, dial dialFunc, addr string) (net.Conn, error) {
	c, err := dial.orTCP()(ctx, addr)
	if err != nil {
		return nil, err
	}
	return c, c.SetDeadline(time.Now().Add(diagnoseTime))
}

// answered reports whether a server answers without TLS, and closes c.
func answered(c net.Conn) bool {
	defer func() { _ = c.Close() }() // the answer was read
	reply := make([]byte, 1)
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	_, err := c.Read(reply)
	return err == nil && (reply[0] == '+' || reply[0] == '-')
}
