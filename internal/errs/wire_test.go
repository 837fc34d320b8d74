package errs

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestErrorsArriveWithTheirKindAndAHarmlessText(t *testing.T) {
	for _, err := range []error{New(Full, "no room: ü"), errors.New(""), New(Deleted, "\x1b[31m\x00"), New(IO, "%s", strings.Repeat("ü", 1000))} {
		kind, text := ToWire(err)
		got := FromWire(kind, text)
		if KindOf(got) != KindOf(err) || text == "" || len(text) > maxText || !utf8.ValidString(text) || strings.ContainsRune(got.Error(), '\x1b') {
			t.Errorf("%q arrives as %q, of kind %s, want %s", err, got, KindOf(got).Name(), KindOf(err).Name())
		}
	}
	if got := FromWire(250, "\x00"); KindOf(got) != Other || got.Error() == "" {
		t.Errorf("a kind that is not known arrives as %q, %s", got, KindOf(got).Name())
	}
}
