package main

import (
	"bytes"
	"io"

	"datamesh/internal/errs"
)

// A terminal writes text, and refuses what a terminal would take for commands.
type terminal struct{ w io.Writer }

func (t terminal) Write(p []byte) (int, error) {
	if bytes.ContainsFunc(p, func(r rune) bool { return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0x7f }) {
		return 0, errs.WithHint(errs.New(errs.Invalid, "the content is binary and standard output is a terminal"),
			"give a file to write, or --force")
	}
	return t.w.Write(p)
}
