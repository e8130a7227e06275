package check_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"go.uber.org/goleak"

	"github.com/jackcache/jackcache/internal/check"
)

// victimRun makes this program the process that is killed.
const victimRun = "CHECK_TEST_VICTIM"

func TestMain(m *testing.M) {
	if os.Getenv(victimRun) != "" {
		if err := check.Victim(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// victim makes the process that is killed.
func victim() *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), victimRun+"=1"), os.Stderr
	return cmd
}
