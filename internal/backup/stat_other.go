//go:build !unix

package backup

import "io/fs"

// identity cannot be told here, so that all files are read.
func identity(fs.FileInfo) (inode uint64, changed int64) { return 0, 0 }
