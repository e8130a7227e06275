package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/redistest"
)

// An interrupted check removes what it wrote.
func TestInterruptedCheck(t *testing.T) {
	server := redistest.Start(t)
	path, err := exec.LookPath("jackcache")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	cmd := exec.Command(path, "check", "--json")
	cmd.Dir, cmd.Stdout = t.TempDir(), &out
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "REDIS_HOST=" + server.Host(), fmt.Sprintf("REDIS_PORT=%d", server.Port()),
		"JACKCACHE_ADDR=" + nobody, quickEnd,
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	written := func() string {
		keys, err := server.Do("KEYS", "*:check-*")
		if err != nil {
			t.Error(err)
		}
		return keys
	}
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for late := time.After(patience); written() == ""; {
		select {
		case <-poll.C:
		case <-late:
			t.Fatal("nothing was written")
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // how it ended is below
	if code := cmd.ProcessState.ExitCode(); code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	if left := written(); left != "" {
		t.Errorf("left: %s", left)
	}
	if !strings.HasPrefix(out.String(), `{"ok":false,`) || !strings.Contains(out.String(), `"result":"not run","milliseconds":`) {
		t.Errorf("report: %s", out.String())
	}
}

// A check goes where the settings lead: TLS, a client certificate, a user whose
// password is in a file. It tells no secret.
func TestCheckWithTLS(t *testing.T) {
	const secret = "open-sesame-9"
	dir := t.TempDir()
	certs, err := redistest.NewCertificates(dir)
	if err != nil {
		t.Fatal(err)
	}
	server := redistest.StartSecure(t, redistest.Security{
		Password: "of-the-servers-3", User: "jack", UserPassword: secret, Rules: "~jack:* +@all", TLS: certs, ClientCerts: true,
	})
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	path, err := exec.LookPath("jackcache")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "check", "--json", "--only", "basicOperations")
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "REDIS_HOST=" + server.Host(), fmt.Sprintf("REDIS_PORT=%d", server.Port()),
		"REDIS_TLS=on", "REDIS_CA_FILE=" + certs.CAFile, "REDIS_CERT_FILE=" + certs.ClientCertFile, "REDIS_KEY_FILE=" + certs.ClientKeyFile,
		"REDIS_USERNAME=jack", "REDIS_PASSWORD_FILE=" + password, "JACKCACHE_ADDR=" + nobody, quickEnd,
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), `{"ok":true,`) || strings.Contains(string(out), secret) {
		t.Errorf("%v: %s", err, out)
	}
	if left, err := server.Do("KEYS", "*check-*"); err != nil || left != "" {
		t.Errorf("left: %q, %v", left, err)
	}
}
