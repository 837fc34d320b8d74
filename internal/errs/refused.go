package errs

import "errors"

// IsRefused reports whether nothing listens where a connection was tried.
func IsRefused(err error) bool { return errors.Is(err, refused) }
