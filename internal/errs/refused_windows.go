package errs

import "syscall"

// refused is WSAECONNREFUSED; syscall.ECONNREFUSED is no error of Windows.
const refused = syscall.Errno(10061)
