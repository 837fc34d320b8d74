//go:build unix

package tree

import (
	"errors"
	"io/fs"
	"strconv"
	"syscall"
)

// nonBlocking has a pipe that took the place of a file opened at once.
const nonBlocking = syscall.O_NONBLOCK

// notSynced reports whether a file system knows no syncing of directories.
func notSynced(err error) bool {
	return errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported)
}

// inodeOf returns the number of a file's inode, without that of its device, which
// may be another each time that a disk is found.
func inodeOf(info fs.FileInfo) string {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return strconv.FormatUint(uint64(st.Ino), 10)
}
