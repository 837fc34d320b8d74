//go:build !linux

package durable_test

import "testing"

// asNobody calls do, with a directory.
func asNobody(t *testing.T, do func(dir string)) {
	t.Helper()
	do(t.TempDir())
}
