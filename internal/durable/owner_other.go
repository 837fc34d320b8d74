//go:build !unix

package durable

import "io/fs"

// KeepOwner does nothing: there is no root here that writes for others.
func (f *File) KeepOwner(fs.FileInfo) error { return nil }

// hasOtherNames reports nothing: what links there are is not told here.
func hasOtherNames(fs.FileInfo) bool { return false }
