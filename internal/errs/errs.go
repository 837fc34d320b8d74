// Package errs classifies errors, so that the command line, the local API, a
// peer and a retry loop can act on one without reading its text.
//
// A kind is given once, where a foreign error enters the program; above that
// only context is added with fmt.Errorf and %w.
package errs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// A Kind is a class of errors. It is itself an error, so that
//
//	errors.Is(err, errs.FileNotFound)
//
// reports whether any error in err's tree has that kind.
type Kind uint8

// The kinds. Their numbers go over the wire: add new ones at the end.
const (
	Other Kind = iota
	// System.
	IO
	Network
	Database
	Configuration
	// Crypto.
	Encryption
	Decryption
	KeyManagement
	Authentication
	// Storage.
	Storage
	FileNotFound
	Share
	Backup
	// Data.
	Serialization
	Encoding
	Import
	Export
	// Kinds that callers act on.
	Unavailable // too few peers answered
	Full        // no room on a disk or on the peers
	Exists      // the name is taken
	Invalid     // the request makes no sense
	Integrity   // bytes are not what their name says
	NoNode      // no running node answers
	Locked      // another process has it
	Partial     // some of it was done
	Degraded    // it works, with less safety than it should
	Deleted     // its owner has deleted it
	Refused     // its owner has asked that this is not done

	numKinds
)

// kinds is all that DataMesh knows about its kinds of errors: the name in
// JSON, the text, whether the same call may succeed later, the exit code of a
// command, the status of an HTTP response, and what the user can do.
var kinds = [numKinds]struct {
	name  string
	text  string
	retry bool
	exit  int
	http  int
	hint  string
}{
	Other:          {"Other", "error", false, 1, 500, ""},
	IO:             {"IO", "input/output error", false, 1, 500, "check that the file and its disk can be read and written"},
	Network:        {"Network", "network error", true, 5, 503, `see who answers with "datamesh peers"`},
	Database:       {"Database", "database error", false, 1, 500, "the database in the home may be damaged; keep a copy of the home before you try anything"},
	Configuration:  {"Configuration", "bad configuration", false, 10, 400, ""},
	Encryption:     {"Encryption", "cannot seal", false, 1, 500, ""},
	Decryption:     {"Decryption", "wrong key", false, 6, 403, `it was sealed for another identity; see yours with "datamesh id"`},
	KeyManagement:  {"KeyManagement", "key error", false, 6, 400, ""},
	Authentication: {"Authentication", "permission denied", false, 6, 403, ""},
	Storage:        {"Storage", "storage error", true, 1, 503, ""},
	FileNotFound:   {"FileNotFound", "not found", false, 4, 404, `see what is stored with "datamesh list"`},
	Share:          {"Share", "cannot share", false, 1, 403, ""},
	Backup:         {"Backup", "backup error", false, 1, 500, ""},
	Serialization:  {"Serialization", "malformed record", false, 1, 422, ""},
	Encoding:       {"Encoding", "coding error", false, 1, 500, ""},
	Import:         {"Import", "cannot import", false, 1, 400, ""},
	Export:         {"Export", "cannot export", false, 1, 500, ""},
	Unavailable:    {"Unavailable", "too few peers answer", true, 5, 503, `see who answers with "datamesh peers" and try again`},
	Full:           {"Full", "no space", false, 12, 507, "free some disk space or add a node"},
	Exists:         {"Exists", "already exists", false, 1, 409, ""},
	Invalid:        {"Invalid", "invalid request", false, 2, 400, ""},
	Integrity:      {"Integrity", "damaged data", false, 7, 502, ""},
	NoNode:         {"NoNode", "no node is running", false, 8, 503, `start one with "datamesh bootstrap" or "datamesh service"`},
	Locked:         {"Locked", "in use", true, 11, 423, "another datamesh process uses this home; stop it or give another --home"},
	Partial:        {"Partial", "only partly done", false, 3, 207, ""},
	Degraded:       {"Degraded", "degraded", false, 9, 200, ""},
	Deleted:        {"Deleted", "deleted by its owner", false, 1, 410, ""},
	Refused:        {"Refused", "refused", false, 1, 409, ""},
}

func (k Kind) known() Kind {
	if k >= numKinds {
		return Other // of a newer peer
	}
	return k
}

func (k Kind) Error() string { return kinds[k.known()].text }

// Kinds returns all kinds, in the order of their numbers.
func Kinds() []Kind {
	all := make([]Kind, numKinds)
	for k := range numKinds {
		all[k] = k
	}
	return all
}

// Name returns the kind's name as JSON has it.
func (k Kind) Name() string { return kinds[k.known()].name }

// Is makes FileNotFound match [fs.ErrNotExist] and Exists match [fs.ErrExist].
func (k Kind) Is(target error) bool {
	return k == FileNotFound && target == fs.ErrNotExist || k == Exists && target == fs.ErrExist
}

// ByName returns the kind of that name, or Other.
func ByName(name string) Kind {
	for k := range numKinds {
		if kinds[k].name == name {
			return k
		}
	}
	return Other
}

// An Error is an error whose kind is known.
type Error struct {
	Kind Kind
	Hint string // something the user can do or type; "" means the usual hint of Kind
	Err  error  // what happened
}

// New returns an error of the given kind. Like [fmt.Errorf] it wraps the
// operands of %w verbs.
func New(kind Kind, format string, args ...any) error {
	return &Error{Kind: kind, Err: fmt.Errorf(format, args...)}
}

// WithHint returns err, of its own kind, with a hint that fits this case
// better than the usual one.
func WithHint(err error, format string, args ...any) error {
	return &Error{Kind: KindOf(err), Hint: fmt.Sprintf(format, args...), Err: err}
}

func (e *Error) Error() string   { return e.Err.Error() }
func (e *Error) Unwrap() []error { return []error{e.Kind, e.Err} }

// KindOf returns the outermost kind in err's tree, the first of those that
// were joined, or Other.
func KindOf(err error) Kind {
	kind := Other
	walk(err, func(e error) bool {
		switch e := e.(type) {
		case *Error:
			kind = e.Kind.known()
			return true
		case Kind:
			kind = e.known()
			return true
		}
		return false
	})
	return kind
}

// walk visits err's tree, the outer errors before those they wrap, until
// visit is true.
func walk(err error, visit func(error) bool) bool {
	if err == nil || visit(err) {
		return err != nil
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		return walk(e.Unwrap(), visit)
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(e.Unwrap(), func(err error) bool { return walk(err, visit) })
	}
	return false
}

// Retryable reports whether the same call may succeed later.
func Retryable(err error) bool {
	return !errors.Is(err, context.Canceled) && kinds[KindOf(err)].retry
}

// HintFor returns a line that tells the user what to do, or "": the outermost
// hint that was given, else the usual one of err's kind.
func HintFor(err error) string {
	hint := kinds[KindOf(err)].hint
	walk(err, func(err error) bool {
		e, ok := err.(*Error)
		if ok && e.Hint != "" {
			hint = e.Hint
			return true
		}
		return false
	})
	return hint
}

// ExitCode returns the exit status of a command that ended with err.
func ExitCode(err error) int {
	switch {
	case err == nil:
		return 0
	case KindOf(err) == Other && errors.Is(err, context.Canceled):
		return 130
	}
	return kinds[KindOf(err)].exit
}

// HTTPStatus returns the status of a response that reports err.
func HTTPStatus(err error) int { return kinds[KindOf(err)].http }
