package compress

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

// Frames of the reference implementation, libzstd: what other programs write is read.
func TestFramesOfOthersAreRead(t *testing.T) {
	for _, x := range []struct{ content, frame string }{
		{strings.Repeat("peers keep what nobody trusts them with. ", 200), "28b52ffd60081f85010092820910c0eb342d9b8bb0b46006ff5fab6b39010576a26a6c6f3e137ad73871a70fa68a7669221b030100e17ed6ab32"},
		{strings.Repeat("\x00", 300_000), "28b52ffda0e09304004c000008000100fcff39100202001000039f0400"},
		{"short", "28b52ffd200529000073686f7274"},
	} {
		frame, err := hex.DecodeString(x.frame)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(x.content))
		if err := New().Expand(got, frame); err != nil || !bytes.Equal(got, []byte(x.content)) {
			t.Errorf("%.20q: got %q, %v", x.content, got, err)
		}
	}
}
