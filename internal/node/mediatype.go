package node

import (
	"bufio"
	"cmp"
	"io"
	"mime"
	"path"
	"strings"

	"datamesh/internal/format"

	"github.com/gabriel-vasile/mimetype"
)

// typeBytes is how much of the beginning of a file is looked at for its type.
const typeBytes = 3072

// typed returns the media type of what r has, and a reader of all of it. Where
// the beginning tells little, as that of a text or an archive does, it is what the
// ending of the name says. It is "" if nothing is known, and never one that says
// that something is no file.
func typed(r io.Reader, name string) (string, io.Reader) {
	whole := bufio.NewReaderSize(r, typeBytes)
	head, _ := whole.Peek(typeBytes) // if it cannot be read, the put finds out
	found := mimetype.Detect(head)
	t := found.String()
	if found.Is("text/plain") || found.Is("application/zip") || found.Is(unknownType) {
		t = cmp.Or(mime.TypeByExtension(path.Ext(name)), t)
	}
	if t == unknownType || strings.HasPrefix(t, "inode/") || format.Internal(t) {
		t = ""
	}
	return t, whole
}

const unknownType = "application/octet-stream"
