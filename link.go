package datamesh

import (
	"fmt"
	"io"
	"strings"
)

// A Link is an object, and the secret with which whoever has the link opens it.
type Link struct {
	Object   ObjectID
	Key      [32]byte
	Password bool // it takes a password, too
}

// The form of a link: the object first, which is no secret, and the secret after
// what begins a fragment, in bech32m, so that one that was cut off is found out.
const (
	linkScheme   = "datamesh:"
	linkPrefix   = "dmkey"
	lockedPrefix = "dmlocked"
)

// Text returns the link as it is given to others. It is a secret.
func (l Link) Text() string {
	prefix := linkPrefix
	if l.Password {
		prefix = lockedPrefix
	}
	return linkScheme + l.Object.String() + "#" + encode(prefix, l.Key)
}

// Format prints what of a link is no secret, whatever the verb, so that none gets
// into a log.
func (l Link) Format(f fmt.State, _ rune) { io.WriteString(f, linkScheme+l.Object.String()) }

// IsLink reports whether a text is meant as a link.
func IsLink(s string) bool { return strings.HasPrefix(s, linkScheme) }

// ParseLink reads the text of a link. Its error does not have the secret.
func ParseLink(s string) (l Link, err error) {
	rest, ok := strings.CutPrefix(s, linkScheme)
	id, key, both := strings.Cut(rest, "#")
	if !ok || !both {
		return l, fmt.Errorf("a link begins with %s, and its secret comes after a #", linkScheme)
	}
	if isHex(id) || l.Object.UnmarshalText([]byte(id)) != nil {
		return l, fmt.Errorf("the id in the link is mistyped")
	}
	l.Password = strings.HasPrefix(key, lockedPrefix+"1")
	prefix := linkPrefix
	if l.Password {
		prefix = lockedPrefix
	}
	if isHex(key) || decode(prefix, key, &l.Key) != nil {
		return l, fmt.Errorf("the secret of the link is mistyped, or cut off")
	}
	return l, nil
}
