package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"

	"datamesh/internal/errs"
	"datamesh/internal/node"
)

// controls are what encoding/json lets through and a terminal may obey.
var controls = regexp.MustCompile(`[\x{7f}-\x{9f}]`)

// Text returns the JSON of a document and the end of its line, as commands print it.
func Text(document any) ([]byte, error) {
	var b bytes.Buffer
	if err := encode(&b, document); err != nil {
		return nil, err
	}
	return append(b.Bytes(), '\n'), nil
}

// encode writes JSON that shows as it is in a terminal.
func encode(b *bytes.Buffer, document any) error {
	begin := b.Len()
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := e.Encode(document); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // the end of the line
	text := b.Bytes()[begin:]
	if bytes.IndexByte(text, 0x7f) < 0 && bytes.IndexByte(text, 0xc2) < 0 { // with which those above begin
		return nil
	}
	escaped := controls.ReplaceAllFunc(text, func(s []byte) []byte { return fmt.Appendf(nil, `\u%04x`, bytes.Runes(s)[0]) })
	b.Truncate(begin)
	b.Write(escaped)
	return nil
}

const (
	listHead = `{"objects":[`
	listTail = "]}\n"
)

// WriteList writes the document of what [Operations.List] lists, object by object, and
// reports whether it has written of one. If it fails the document lacks its end, and is
// empty if there was nothing. An error of w is returned as it is.
func WriteList(ctx context.Context, ops Operations, o node.ListOptions, w io.Writer) (begun bool, err error) {
	out := bufio.NewWriterSize(w, 64<<10)
	var text bytes.Buffer
	err = ops.List(ctx, o, func(object node.Object) error {
		text.Reset()
		if begun {
			text.WriteByte(',')
		} else {
			text.WriteString(listHead)
			begun = true
		}
		if err := encode(&text, object); err != nil {
			return errs.New(errs.Serialization, "object %v: %w", object.ID, err)
		}
		_, err := out.Write(text.Bytes())
		return err
	})
	if err == nil {
		if !begun {
			out.WriteString(listHead)
		}
		out.WriteString(listTail)
	}
	if failed := out.Flush(); failed != nil && !errors.Is(err, failed) { // it may be why the list ended
		err = errors.Join(err, failed)
	}
	return begun, err
}
