//go:build !unix

package api

import "io/fs"

// isPrivate relies on the directory's inherited access list: the home, and
// the temporary directory, are in the user's profile.
func isPrivate(fs.FileInfo, bool) bool { return true }
