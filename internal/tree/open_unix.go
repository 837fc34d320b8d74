//go:build unix

package tree

import (
	"errors"
	"syscall"
)

// nonBlocking has a pipe that took the place of a file opened at once.
const nonBlocking = syscall.O_NONBLOCK

// notSynced reports whether a file system knows no syncing of directories.
func notSynced(err error) bool {
	return errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported)
}
