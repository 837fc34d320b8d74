//go:build !windows

package errs

import "syscall"

const refused = syscall.ECONNREFUSED
