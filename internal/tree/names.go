package tree

import (
	"strings"

	"golang.org/x/text/unicode/norm"
)

// Composed returns the one form of all names that differ only in how Unicode
// composes their letters: NFC, in which é is one character. Names are kept as they
// were given; by this two of them are found to look the same.
func Composed(name string) string { return norm.NFC.String(name) }

// folded is the same of all names that a system may take for one: those that know
// no upper case, or compose letters themselves. Others may have the same, too.
func folded(name string) string {
	return Composed(strings.ToLower(strings.ToUpper(Composed(name))))
}
