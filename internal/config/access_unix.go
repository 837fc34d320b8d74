//go:build unix

package config

import (
	"errors"
	"syscall"
)

// mayWrite reports whether permissions let this user make files in a directory.
func mayWrite(dir string) bool {
	const writeAndSearch = 2 | 1
	return !errors.Is(syscall.Access(dir, writeAndSearch), syscall.EACCES)
}
