package node

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestTypeIsFoundByContentThenByName(t *testing.T) {
	png := "\x89PNG\r\n\x1a\n" + strings.Repeat("x", 100)
	for _, tt := range []struct{ name, content, want string }{
		{"a picture", png, "image/png"},
		{"a picture.txt", png, "image/png"},
		{"README", "some words\n", "text/plain; charset=utf-8"},
		{"style.css", "some { words: 1 }\n", "text/css; charset=utf-8"},
		{"style.css", "", "text/css; charset=utf-8"},
		{"noise", "\x00\x01\x02\xff\xfe" + strings.Repeat("\x00\x07", 5000), ""},
		{"report", "%PDF-1.7\n" + strings.Repeat("x", 10_000), "application/pdf"},
	} {
		for _, r := range []io.Reader{strings.NewReader(tt.content), iotest.OneByteReader(strings.NewReader(tt.content))} {
			got, whole := typed(r, tt.name)
			if got != tt.want {
				t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
			}
			if b, err := io.ReadAll(whole); err != nil || string(b) != tt.content {
				t.Errorf("%s: %d of %d bytes are left, %v", tt.name, len(b), len(tt.content), err)
			}
		}
	}
}

func TestPutNotesTheType(t *testing.T) {
	n := open(t, options(home(t), Client))
	page := []byte("<!DOCTYPE html><html><body>hello</body></html>")
	n.put(page, PutOptions{Name: "page"})
	n.put(page, PutOptions{Name: "said", Type: "text/x-said"})
	list, err := listOf(t, n.Node)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, o := range list.Objects {
		got[o.Name] = o.Type
	}
	if got["page"] != "text/html; charset=utf-8" || got["said"] != "text/x-said" {
		t.Errorf("types: %v", got)
	}
	if _, err := n.Get(t.Context(), "page", GetOptions{}, func(ObjectInfo) (io.Writer, error) { return io.Discard, nil }); err != nil {
		t.Error(err)
	}
}
