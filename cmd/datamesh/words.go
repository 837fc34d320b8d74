package main

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"datamesh/internal/errs"
)

// A typed line is taken apart as a POSIX shell does it: words are parted by
// blanks, a backslash takes the next character as it is, '…' takes everything,
// "…" everything but a backslash before ", \, $ or `, and # begins a comment
// where a word could begin. Nothing is expanded.
type typed struct {
	words []string // those that are complete, as a blank follows them
	last  string   // the one that the line ends in
	start int      // where last begins, in bytes; the length of the line if it ends in no word
	open  rune     // the quote that is not closed, or the backslash at the end; 0 if there is none
	shell rune     // the first character that only a shell understands, or 0
}

// operators are what a shell understands and a console does not.
const operators = "|<>&;"

// parseLine takes a line apart, whole or not.
func parseLine(line string) (t typed) {
	var (
		word   strings.Builder
		inWord bool
	)
	begin := func(at int) {
		if !inWord {
			inWord, t.start = true, at
		}
	}
	for i := 0; i < len(line); {
		r, n := utf8.DecodeRuneInString(line[i:])
		at, text := i, line[i:i+n]
		i += n
		switch {
		case t.open == '\\':
			t.open = 0
			word.WriteString(text)
		case t.open == '\'' || t.open == '"':
			switch {
			case r == t.open:
				t.open = 0
			case t.open == '"' && r == '\\' && i < len(line) && strings.IndexByte("\"\\$`", line[i]) >= 0:
				word.WriteByte(line[i])
				i++
			default:
				word.WriteString(text)
			}
		case r == '\\' || r == '\'' || r == '"':
			begin(at)
			t.open = r
		case unicode.IsSpace(r):
			if inWord {
				t.words = append(t.words, word.String())
				word.Reset()
				inWord = false
			}
		case r == '#' && !inWord:
			t.start = len(line)
			return t
		default:
			if strings.ContainsRune(operators, r) && t.shell == 0 {
				t.shell = r
			}
			begin(at)
			word.WriteString(text)
		}
	}
	if !inWord {
		t.start = len(line)
	}
	t.last = word.String()
	return t
}

// splitWords returns the words of a whole line. Kind: Invalid.
func splitWords(line string) ([]string, error) {
	t := parseLine(line)
	switch {
	case t.open == '\\':
		return nil, errs.WithHint(errs.New(errs.Invalid, `the line ends with a backslash`), `type \\ for a backslash`)
	case t.open != 0:
		return nil, errs.WithHint(errs.New(errs.Invalid, "a quote %c is not closed", t.open), `type \%c for the character itself`, t.open)
	case t.shell == '>':
		return nil, errs.WithHint(errs.New(errs.Invalid, "the console has no redirection >"),
			`get ID|NAME OUT writes a file; quote the character if it is part of a name: '>'`)
	case t.shell != 0:
		return nil, errs.WithHint(errs.New(errs.Invalid, "the console has no pipes, redirections or lists: %c", t.shell),
			`type exit, and the line in a shell; quote the character if it is part of a name: '%c'`, t.shell)
	}
	if t.start < len(line) {
		return append(t.words, t.last), nil
	}
	return t.words, nil
}

// quoteWord returns a word so that a line that has it has that one word.
func quoteWord(word string) string { return errs.Word(word) }
