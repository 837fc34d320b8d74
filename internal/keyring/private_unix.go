//go:build unix

package keyring

import (
	"io/fs"
	"os"
	"syscall"
)

// private reports whether a key file is for its owner alone, as ssh checks it:
// a file of this user's own must be; what belongs to another, such as a secret
// that an administrator has mounted, is that one's affair.
func private(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return info.Mode().Perm()&0o077 == 0 || ok && int(st.Uid) != os.Getuid()
}
