package errs

import (
	"cmp"
	"strings"
	"unicode"
)

// maxText bounds the text of an error that goes over the wire, in bytes.
const maxText = 500

// ToWire returns what a peer is told of an error: its kind, and a text that is
// short, printable and never empty.
func ToWire(err error) (kind uint8, text string) {
	k := KindOf(err)
	return uint8(k), cmp.Or(printable(err.Error()), k.Error())
}

// FromWire returns the error that a peer tells of. The text is a stranger's.
func FromWire(kind uint8, text string) error {
	k := Kind(kind)
	return New(k, "%s", cmp.Or(printable(text), k.Error()))
}

// printable cuts a text short and takes out what could harm a terminal.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, s)
	return strings.ToValidUTF8(s[:min(len(s), maxText)], "")
}
