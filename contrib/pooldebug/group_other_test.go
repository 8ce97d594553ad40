//go:build !unix

package pooldebug

import "os/exec"

func inOwnGroup(*exec.Cmd) {}
