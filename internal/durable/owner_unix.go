//go:build unix

package durable

import (
	"io/fs"
	"os"
	"syscall"
)

// KeepOwner gives the file the owner and the group of what like describes: so
// what root writes for another user stays that user's. For anyone but root it
// does nothing. Call it before [File.SetMode]. Kind: IO.
func (f *File) KeepOwner(like fs.FileInfo) error {
	of, ok := like.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 {
		return nil
	}
	return classify("keep the owner of", f.path, f.temp.Chown(int(of.Uid), int(of.Gid)))
}

// hasOtherNames reports whether a file has more hard links than the one.
func hasOtherNames(fi fs.FileInfo) bool {
	of, ok := fi.Sys().(*syscall.Stat_t)
	return ok && of.Nlink > 1
}
