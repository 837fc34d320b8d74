//go:build unix

package main

import (
	"fmt"
	"io/fs"
	"reflect"
	"syscall"
)

// inode tells one file, as it was at one time, from all others.
func inode(fi fs.FileInfo) string {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%d %d %v", st.Dev, st.Ino, statusTime(st))
}

// statusTime returns when the system last saw the file change, which nobody
// can set. Systems name the field differently.
func statusTime(st *syscall.Stat_t) any {
	for _, name := range []string{"Ctim", "Ctimespec"} {
		if f := reflect.ValueOf(st).Elem().FieldByName(name); f.IsValid() {
			return f.Interface()
		}
	}
	return nil
}
