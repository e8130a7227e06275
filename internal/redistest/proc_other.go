//go:build !linux

package redistest

import (
	"os/exec"
	"time"
)

func dieWithParent(*exec.Cmd) {}

// reserve takes nothing: another process may come to use the port.
func reserve(int) bool { return true }

func cpuTime(int) time.Duration { return 0 }
