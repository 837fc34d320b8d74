package datamesh

import "io/fs"

// NoPermissions is the mode of a file or a directory on which nobody has any
// permission. Others are their permission bits, and 0 is one that is not known.
const NoPermissions = 0o100000

// ModeOf returns the mode of what has the permission bits of m.
func ModeOf(m fs.FileMode) uint32 {
	if m.Perm() == 0 {
		return NoPermissions
	}
	return uint32(m.Perm())
}

// ValidMode reports whether a number is a mode.
func ValidMode(mode uint32) bool { return mode <= 0o777 || mode == NoPermissions }
