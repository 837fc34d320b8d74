//go:build unix

package api

import (
	"io/fs"
	"os"
	"syscall"
)

func isPrivate(fi fs.FileInfo) bool {
	stat, ok := fi.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid() && fi.Mode().Perm()&0o077 == 0
}
