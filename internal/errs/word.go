package errs

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Word returns a word as it is typed in a shell, for a hint that has it.
func Word(word string) string {
	if word == "" {
		return "''"
	}
	var b strings.Builder
	for i := 0; i < len(word); {
		r, n := utf8.DecodeRuneInString(word[i:])
		if unicode.IsSpace(r) || strings.ContainsRune("|<>&;\\'\"$`#*?[](){}~!", r) {
			b.WriteByte('\\')
		}
		b.WriteString(word[i : i+n])
		i += n
	}
	return b.String()
}
