package config

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"datamesh/internal/errs"
)

// A document is what a configuration file says and where it says it. Offsets
// are of its bytes; a span is [start, end).
type document struct {
	entries  []entry
	tables   []table
	comments []comment // those with a line of their own

	offset, line int // how far lines were counted
}

// An entry is a value and its key.
type entry struct {
	section, name string // "" and the key, of one above all tables
	table         int    // the index of its table; -1: above all tables
	inline        bool   // within a value in braces
	line          int
	start         int // of the key
	value, end    int // the span of the value
	kind          unstable.Kind
	texts         []string // of a list its elements, else the one value
}

// A table is a header in brackets.
type table struct {
	section    string
	array      bool
	line       int
	start, end int // of the header
}

type comment struct{ start, end int }

func (e entry) key() string { return join(e.section, e.name) }

func join(section, name string) string {
	if section == "" {
		return name
	}
	return section + "." + name
}

// A lineError is an error that a line of the file has.
type lineError struct {
	line int
	error
}

func (e lineError) Unwrap() error { return e.error }

func errorAt(line int, format string, args ...any) error {
	return lineError{line, errs.New(errs.Configuration, format, args...)}
}

// parse reads a document. Its errors are lineErrors.
func parse(b []byte) (*document, error) {
	if !utf8.Valid(b) {
		return nil, errorAt(lineOf(b, invalidAt(b)), "it is not UTF-8")
	}
	var all map[string]any // the whole grammar: keys that are there twice, tables within values
	if err := toml.Unmarshal(b, &all); err != nil {
		line := 1
		if e, ok := errors.AsType[*toml.DecodeError](err); ok {
			line, _ = e.Position()
		}
		return nil, errorAt(line, "%s", strings.TrimPrefix(err.Error(), "toml: "))
	}
	d := &document{line: 1}
	p := unstable.Parser{KeepComments: true}
	p.Reset(b)
	var prefix []string
	for p.NextExpression() {
		switch n := p.Expression(); n.Kind {
		case unstable.Comment:
			d.comments = append(d.comments, comment{int(n.Raw.Offset), int(n.Raw.Offset + n.Raw.Length)})
		case unstable.KeyValue:
			d.add(b, prefix, n, false)
		case unstable.Table, unstable.ArrayTable:
			var at unstable.Range
			prefix, at = path(n.Key())
			start := int(at.Offset)
			d.tables = append(d.tables, table{section: strings.Join(prefix, "."), array: n.Kind == unstable.ArrayTable,
				line: d.lineAt(b, start), start: start, end: lineEnd(b, start)})
		}
	}
	if err := p.Error(); err != nil {
		return nil, errorAt(1, "%w", err)
	}
	return d, nil
}

// add notes what a key and its value say: one entry, or those in braces.
func (d *document) add(b []byte, prefix []string, n *unstable.Node, inline bool) {
	keys, last := path(n.Key())
	full := slices.Concat(prefix, keys)
	v := n.Value()
	if v.Kind == unstable.InlineTable {
		for it := v.Children(); it.Next(); {
			if it.Node().Kind == unstable.KeyValue {
				d.add(b, full, it.Node(), true)
			}
		}
		if v.Child() != nil || len(full) == 1 {
			return
		}
	}
	start, end := int(n.Raw.Offset), int(n.Raw.Offset+n.Raw.Length)
	eq := int(last.Offset + last.Length)
	eq += bytes.IndexByte(b[eq:], '=') + 1
	e := entry{section: strings.Join(full[:len(full)-1], "."), name: full[len(full)-1], table: len(d.tables) - 1, inline: inline,
		line: d.lineAt(b, start), start: start, end: end, value: end - len(bytes.TrimLeft(b[eq:end], " \t")), kind: v.Kind}
	if v.Kind == unstable.Array {
		for it := v.Children(); it.Next(); {
			switch it.Node().Kind {
			case unstable.Comment:
			case unstable.String:
				e.texts = append(e.texts, string(it.Node().Data))
			default:
				e.kind = unstable.Invalid // no list of strings
			}
		}
	} else {
		e.texts = []string{string(v.Data)}
	}
	d.entries = append(d.entries, e)
}

// path returns the parts of a key, and where the last one is.
func path(it unstable.Iterator) (parts []string, last unstable.Range) {
	for it.Next() {
		parts, last = append(parts, string(it.Node().Data)), it.Node().Raw
	}
	return parts, last
}

// find returns the entry of a key, or nil.
func (d *document) find(section, name string) *entry {
	i := slices.IndexFunc(d.entries, func(e entry) bool { return e.section == section && e.name == name })
	if i < 0 {
		return nil
	}
	return &d.entries[i]
}

// lineAt is lineOf for offsets that only grow, which together cost one pass.
func (d *document) lineAt(b []byte, offset int) int {
	d.line += bytes.Count(b[d.offset:offset], []byte("\n"))
	d.offset = offset
	return d.line
}

// lineOf returns the number of the line that an offset is in.
func lineOf(b []byte, offset int) int { return bytes.Count(b[:offset], []byte("\n")) + 1 }

// lineEnd returns where the line after that of an offset begins.
func lineEnd(b []byte, offset int) int {
	if i := bytes.IndexByte(b[offset:], '\n'); i >= 0 {
		return offset + i + 1
	}
	return len(b)
}

func lineStart(b []byte, offset int) int { return bytes.LastIndexByte(b[:offset], '\n') + 1 }

// invalidAt returns where text stops being UTF-8.
func invalidAt(b []byte) int {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(b)
}
