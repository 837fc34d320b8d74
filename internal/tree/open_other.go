//go:build !unix

package tree

import "io/fs"

const nonBlocking = 0

func notSynced(error) bool { return true }

// inodeOf returns nothing: such systems show none.
func inodeOf(fs.FileInfo) string { return "" }
