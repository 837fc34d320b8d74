package archive

import (
	"hash/maphash"
	"path"
	"strings"
)

// A kind is what is at a path.
type kind uint8

const (
	led     kind = iota + 1 // a directory that something is in
	dir                     // a directory with an entry of its own
	file                    // a regular file
	link                    // a symbolic link
	nothing                 // an entry that is left out
)

// What follows "is below" in an error.
var kindNames = map[kind]string{file: "a file", link: "a link", nothing: "no directory"}

// names are the paths of an archive, by their hashes under a key that nobody
// knows: two that have one hash are taken for one, and refused.
type names struct {
	seed maphash.Seed
	at   map[uint64]place
	most int // of them
}

// A place is what is known of a path.
type place struct {
	kind kind
	size int64
}

func newNames(most int) *names { return &names{maphash.MakeSeed(), map[uint64]place{}, most} }

func (n *names) hash(p string) uint64 { return maphash.String(n.seed, p) }

func (n *names) of(p string) place { return n.at[n.hash(p)] }

// add notes what is at a path that [checkPath] has returned. Kind: Import (it
// is there already, or below what is no directory, or they are too many).
func (n *names) add(name, p string, k kind, size int64) error {
	for i := range len(p) {
		if p[i] != '/' {
			continue
		}
		switch above := n.of(p[:i]); above.kind {
		case 0:
			if err := n.set(name, p[:i], place{kind: led}); err != nil {
				return err
			}
		case led, dir:
		default:
			return refuse(name, "it is below %.200q, which is %s in this archive", p[:i], kindNames[above.kind])
		}
	}
	switch there := n.of(p).kind; {
	case there == 0, there == led && k == dir:
		return n.set(name, p, place{k, size})
	case there == led:
		return refuse(name, "there are entries below it, and it is no directory")
	}
	return refuse(name, "it is there twice")
}

func (n *names) set(name, p string, at place) error {
	n.at[n.hash(p)] = at
	return n.bound(name, len(n.at))
}

// bound refuses more entries than there may be.
func (n *names) bound(name string, entries int) error {
	if entries > n.most {
		return refuse(name, "the archive has more than %d entries", n.most)
	}
	return nil
}

// original returns the path and the size of the file that a hard link is another
// name of. Kind: Import.
func (n *names) original(name, target string) (string, int64, error) {
	p, err := checkPath(target, false)
	if err != nil {
		return "", 0, refuse(name, "it is a hard link to %.200q, which is outside of the archive", target)
	}
	at := n.of(p)
	if at.kind != file {
		return "", 0, refuse(name, "it is a hard link to %.200q, which is no file that the archive has before it", path.Clean(strings.ToValidUTF8(target, "\uFFFD")))
	}
	return p, at.size, nil
}
