//go:build !unix

package keyring

import "io/fs"

// private is true: the mode says nothing of who may read the file here.
func private(fs.FileInfo) bool { return true }
