//go:build !unix

package durable

import "io/fs"

// KeepOwner does nothing: there is no root here that writes for others.
func (f *File) KeepOwner(fs.FileInfo) error { return nil }
