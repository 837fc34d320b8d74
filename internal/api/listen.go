package api

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"datamesh/internal/errs"
)

// Listen listens on socket, whose directory it makes if need be. A socket that
// a dead process has left is replaced; the caller has its store locked, so that
// no two of one home do that at once. Closing the listener removes the socket.
// Kinds: Locked (a process listens), Authentication (the directory may be
// another user's), IO.
func Listen(ctx context.Context, socket string) (net.Listener, error) {
	dir := filepath.Dir(socket)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, errs.New(errs.IO, "make the directory of the local API: %w", err)
	}
	if err := checkPrivate(dir, false); err != nil {
		return nil, err
	}
	switch conn, err := connect(ctx, socket); {
	case err == nil:
		conn.Close()
		return nil, errs.New(errs.Locked, "a node is running: it listens on %s", socket)
	case !errors.Is(err, errs.NoNode):
		return nil, err
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, errs.New(errs.IO, "replace the socket of a dead node: %w", err)
	}
	var l net.ListenConfig
	ln, err := l.Listen(ctx, "unix", socket)
	if err != nil {
		return nil, errs.New(errs.IO, "listen for the local API: %w", err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		ln.Close()
		return nil, errs.New(errs.IO, "listen for the local API: %w", err)
	}
	return ln, nil
}

// checkPrivate tells whether dir is a directory of this user alone, or, for
// root to look after the service of another user, of one user alone. Others
// could put a socket of their own in any other. Kinds: Authentication, IO;
// a directory that is not there is [fs.ErrNotExist].
func checkPrivate(dir string, orRoot bool) error {
	fi, err := os.Lstat(dir)
	switch {
	case err != nil:
		return errs.New(errs.IO, "directory of the local API: %w", err)
	case !fi.IsDir():
		return errs.WithHint(errs.New(errs.Authentication, "%s is not a directory", dir), "move it away")
	case !isPrivate(fi, orRoot):
		return errs.WithHint(errs.New(errs.Authentication, "other users may write to %s or look into it", dir),
			"make it yours alone: chmod 700 %s", dir)
	}
	return nil
}
