//go:build unix

package node

import "syscall"

// fileLimit returns how many files and connections this process may have
// open, or 0.
func fileLimit() uint64 {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0
	}
	return uint64(l.Cur)
}
