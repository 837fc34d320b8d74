package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"datamesh/internal/config"
)

// newTable aligns the columns of rows until it is flushed.
func newTable(w io.Writer) *tabwriter.Writer {
	return tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
}

// A stream is a table of which the rows come one by one: the first decide how wide
// its columns are, and a cell that is wider makes its column wider from there on.
type stream struct {
	w      io.Writer
	first  [][]string // rows that are kept back until there are enough; nil after that
	widths []int
}

const streamRows = 500

func newStream(w io.Writer, header ...any) *stream {
	s := &stream{w: w, first: [][]string{}, widths: make([]int, len(header))}
	s.row(header...) // it is kept
	return s
}

// row takes a row, of as many cells as the header.
func (s *stream) row(cells ...any) error {
	texts := make([]string, len(cells))
	for i, cell := range cells {
		texts[i] = plain(fmt.Sprint(cell))
		s.widths[i] = max(s.widths[i], utf8.RuneCountInString(texts[i]))
	}
	if s.first == nil {
		return s.write(texts)
	}
	if s.first = append(s.first, texts); len(s.first) > streamRows {
		return s.flush()
	}
	return nil
}

// begun reports whether a row has been taken beside the header.
func (s *stream) begun() bool { return s.first == nil || len(s.first) > 1 }

// flush writes what is kept back.
func (s *stream) flush() error {
	for _, texts := range s.first {
		if err := s.write(texts); err != nil {
			return err
		}
	}
	s.first = nil
	return nil
}

func (s *stream) write(texts []string) error {
	var b strings.Builder
	for i, text := range texts {
		b.WriteString(text)
		if i < len(texts)-1 {
			b.WriteString(strings.Repeat(" ", s.widths[i]-utf8.RuneCountInString(text)+2))
		}
	}
	b.WriteByte('\n')
	_, err := io.WriteString(s.w, b.String())
	return err
}

// row writes a row of a table.
func row(w io.Writer, cells ...any) {
	for i, cell := range cells {
		if i > 0 {
			io.WriteString(w, "\t")
		}
		io.WriteString(w, plain(fmt.Sprint(cell)))
	}
	io.WriteString(w, "\n")
}

// plain replaces what a terminal might take for a command. Names, labels and
// reasons come from others.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

func size(n int64) string { return config.Size(n).String() }

func localTime(t time.Time) string { return t.Local().Format("2006-01-02 15:04") }

// count returns "1 shard" or "6 shards".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// survives says what an object can lose.
func survives(n int) string {
	switch {
	case n < 0:
		return "nothing more: too few shards answer to read it now"
	case n == 0:
		return "the loss of no peer"
	}
	return "the loss of any " + count(n, "peer")
}

const (
	widest  = 64 // columns of a name in a table
	nameEnd = 23 // of them are the end of one that is too long
)

// shortened returns a name for a table. One of more columns than widest is cut
// in the middle, and then one wider than any that is whole.
func shortened(name string) string {
	runes := []rune(name)
	if len(runes) <= widest {
		return name
	}
	return string(runes[:widest-nameEnd]) + "…" + string(runes[len(runes)-nameEnd:])
}
