//go:build unix

package pooldebug

import (
	"os/exec"
	"syscall"
)

// inOwnGroup has the processes that a browser starts end with it.
func inOwnGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
