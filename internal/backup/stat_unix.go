//go:build unix

package backup

import (
	"io/fs"
	"reflect"
	"syscall"
)

// identity returns the inode of a file, and when the system last saw that change,
// which nobody can set; 0 if it cannot be told.
func identity(fi fs.FileInfo) (inode uint64, changed int64) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0
	}
	for _, name := range []string{"Ctim", "Ctimespec"} { // systems name the field differently
		if f := reflect.ValueOf(st).Elem().FieldByName(name); f.IsValid() {
			if t, ok := f.Interface().(syscall.Timespec); ok {
				return st.Ino, t.Nano()
			}
		}
	}
	return 0, 0
}
