package redistest

import (
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// clockTick is the unit of times in /proc; Linux fixes it at 100 per second
// for user space.
const clockTick = time.Second / 100

// dieWithParent makes the kernel kill the child when the thread that starts it
// ends, so that a test that panics or is killed leaves no server behind.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// reserved are listeners whose names say which ports this process has.
var reserved struct {
	mu  sync.Mutex
	all []net.Listener // guarded by mu
}

// reserve takes a port until this process ends, and reports whether no other one,
// and nobody here, had it. The name is in the network namespace, as the port is.
func reserve(port int) bool {
	l, err := net.Listen("unix", "@jackcache-test-port-"+strconv.Itoa(port))
	if err != nil {
		return false
	}
	reserved.mu.Lock()
	defer reserved.mu.Unlock()
	reserved.all = append(reserved.all, l)
	return true
}

// cpuTime reads utime and stime from proc_pid_stat(5).
func cpuTime(pid int) time.Duration {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	// The second field is the program in parentheses and may hold anything;
	// utime and stime are fields 14 and 15.
	s := string(b)
	fields := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
	if len(fields) < 13 {
		return 0
	}
	utime, err1 := strconv.ParseInt(fields[11], 10, 64)
	stime, err2 := strconv.ParseInt(fields[12], 10, 64)
	if err1 != nil || err2 != nil {
		return 0
	}
	return time.Duration(utime+stime) * clockTick
}
