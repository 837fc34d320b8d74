package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"datamesh/internal/durable"
	"datamesh/internal/errs"
)

// A User is one of the identities of a home, with the catalog of what was stored
// with it. They share the node, its store and its mesh, and nothing else. The
// zero value is no user.
type User struct {
	Name string
	dir  string
}

// DefaultUser is the name of the identity that lies in the home itself.
const DefaultUser = "default"

// Default returns the identity that lies in the home itself.
func (h Home) Default() User { return User{DefaultUser, string(h)} }

// User returns the identity of that name, which need not be there. Kind: Invalid.
func (h Home) User(name string) (User, error) {
	if err := CheckUserName(name); err != nil {
		return User{}, err
	}
	if name == DefaultUser {
		return h.Default(), nil
	}
	return User{name, filepath.Join(h.users(), name)}, nil
}

func (h Home) users() string { return h.path("identities") }

const maxUserName = 64

// CheckUserName tells whether an identity may be called so. Kind: Invalid.
func CheckUserName(name string) error {
	odd := func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' }
	if name == "" || len(name) > maxUserName || strings.ContainsFunc(name, odd) {
		return errs.WithHint(errs.New(errs.Invalid, "%q is no name of an identity", name),
			"a name has at most %d of a-z, 0-9, - and _", maxUserName)
	}
	return nil
}

// Users returns the names of the identities that the home has, the default one
// first. Kind: IO.
func (h Home) Users() (names []string, err error) {
	entries, err := os.ReadDir(h.users())
	if err != nil && !isMissing(err) {
		return nil, errs.New(errs.IO, "%w", err)
	}
	for _, e := range entries {
		if u, err := h.User(e.Name()); err == nil && u.exists() && u.Name != DefaultUser {
			names = append(names, u.Name)
		}
	}
	slices.Sort(names)
	if h.Default().exists() {
		names = slices.Insert(names, 0, DefaultUser)
	}
	return names, nil
}

// isMissing reports whether an error means that there is no such file, also
// because the home itself is none.
func isMissing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// Several reports whether the home has an identity beside the default one.
// Kind: IO.
func (h Home) Several() (bool, error) {
	names, err := h.Users()
	return slices.ContainsFunc(names, func(name string) bool { return name != DefaultUser }), err
}

func (u User) exists() bool {
	_, err := os.Lstat(u.Identity())
	return err == nil
}

// Known returns the identity of that name. Kinds: Invalid, FileNotFound.
func (h Home) Known(name string) (User, error) {
	u, err := h.User(name)
	if err == nil && !u.exists() {
		err = errs.WithHint(errs.New(errs.FileNotFound, "this home has no identity %q", name), `see "datamesh keys list"; make it: datamesh keys new %s`, name)
	}
	return u, err
}

// used is the file that names the identity that is used if no other is named.
func (h Home) used() string { return filepath.Join(h.users(), "used") }

// usedMagic begins its one line, which ends with the name.
const usedMagic = "datamesh-used-1 "

// Used returns the identity that is used if no other is named. Kinds:
// Configuration, IO.
func (h Home) Used() (User, error) {
	f, err := os.Open(h.used())
	if isMissing(err) {
		return h.Default(), nil
	}
	if err != nil {
		return User{}, errs.New(errs.IO, "%w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 1024))
	if err != nil {
		return User{}, errs.New(errs.IO, "%w", err)
	}
	name, ok := strings.CutPrefix(strings.TrimSuffix(string(b), "\n"), usedMagic)
	u, err := h.User(name)
	if !ok || err != nil {
		return User{}, errs.WithHint(errs.New(errs.Configuration, "%s does not name an identity", h.used()), "datamesh keys use NAME")
	}
	return u, nil
}

// Use makes an identity of the home the one that is used if no other is named.
// Kinds: Invalid, FileNotFound, IO, Full.
func (h Home) Use(name string) error {
	u, err := h.Known(name)
	if err != nil {
		return err
	}
	if err := durable.MkdirAll(h.users(), 0o700); err != nil {
		return err
	}
	return durable.WriteFile(h.used(), 0o600, true, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s%s\n", usedMagic, u.Name)
		return err
	})
}

// Make makes the directory of the identity, for this user alone, if it is not
// there. Kinds: IO, Full.
func (u User) Make() error { return durable.MkdirAll(u.dir, 0o700) }

// Identity is the file that holds the secrets of the user.
func (u User) Identity() string { return filepath.Join(u.dir, "identity") }

// Catalog is the database of what the user has stored.
func (u User) Catalog() string { return filepath.Join(u.dir, "user.db") }

// Puts is the directory of the journals of puts that have not ended.
func (u User) Puts() string { return filepath.Join(u.dir, "puts") }

// Syncs is the directory of what is remembered of directories that are kept the
// same as some of the catalog.
func (u User) Syncs() string { return filepath.Join(u.dir, "syncs") }

// Backups is the directory of what is known of the user's backups, and of what
// they keep beside their memory. It is a cache.
func (u User) Backups() string { return filepath.Join(u.dir, "backups") }
