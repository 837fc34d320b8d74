//go:build unix

package api

import (
	"io/fs"
	"os"
	"syscall"
)

func isPrivate(fi fs.FileInfo, orRoot bool) bool {
	stat, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || fi.Mode().Perm()&0o077 != 0 {
		return false
	}
	user := os.Geteuid()
	return int(stat.Uid) == user || orRoot && user == 0
}
