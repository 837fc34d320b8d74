package datamesh

import (
	"fmt"
	"strings"
	"testing"
)

func TestLinksAreReadAsTheyAreWritten(t *testing.T) {
	for _, want := range []Link{{Object: ObjectID{1}, Key: [32]byte{2}}, {Object: ObjectID{3}, Key: [32]byte{4}, Password: true}} {
		text := want.Text()
		got, err := ParseLink(text)
		if err != nil || got != want {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
		_, secret, _ := strings.Cut(text, "#")
		if s := fmt.Sprintf("%v %+v %#v %s %d", want, want, want, want, want); strings.Contains(s, secret) || strings.Contains(s, "2 0 0") {
			t.Errorf("it is printed: %s", s)
		}
		for i := range text {
			bad := text[:i] + "b" + text[i+1:]
			if text[i] == 'b' {
				continue
			}
			if got, err := ParseLink(bad); err == nil && got == want {
				t.Errorf("%s is read", bad)
			} else if err == nil {
				t.Errorf("%s is read as another", bad)
			} else if strings.Contains(err.Error(), secret[10:]) {
				t.Errorf("the error has the secret: %v", err)
			}
		}
		if _, err := ParseLink(text[:len(text)-1]); err == nil {
			t.Error("one that was cut off is read")
		}
	}
}

func TestAddressesAreReadAsTheyAreWritten(t *testing.T) {
	owner := OwnerKey{1, 2, 3}
	text := owner.Address()
	if got, err := ParseAddress(text); err != nil || got != owner || !strings.HasPrefix(text, "datamesh1") {
		t.Errorf("%s: got %v, %v", text, got, err)
	}
	for _, bad := range []string{"", "name", owner.String(), strings.Repeat("0", 64), text[:len(text)-1] + "b", text + "q", strings.Repeat("q", 10_000)} {
		if _, err := ParseAddress(bad); err == nil {
			t.Errorf("%.80s is read", bad)
		}
	}
}
