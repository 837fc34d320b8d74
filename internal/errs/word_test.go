package errs

import "testing"

func TestWordIsTypedAsOneWord(t *testing.T) {
	for word, want := range map[string]string{"": "''", "a": "a", "a b": `a\ b`, "$x;`y`": "\\$x\\;\\`y\\`", "é😀": "é😀", "a\xff": "a\xff"} {
		if got := Word(word); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
}
