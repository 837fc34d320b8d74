package main

import (
	"io"

	"datamesh/internal/errs"
)

// A terminal writes text, and refuses what a terminal would take for commands:
// the control characters of ASCII, and those beyond, in UTF-8.
type terminal struct {
	w    io.Writer
	last byte // of the Write before: a character may be in two
}

func (t *terminal) Write(p []byte) (int, error) {
	for _, b := range p {
		if b < ' ' && b != '\t' && b != '\n' && b != '\r' || b == 0x7f || t.last == 0xc2 && b >= 0x80 && b < 0xa0 {
			return 0, errs.WithHint(errs.New(errs.Invalid, "the content is binary and standard output is a terminal"),
				"give a file to write, or --force")
		}
		t.last = b
	}
	return t.w.Write(p)
}
