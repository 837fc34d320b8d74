package scrub

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/errs"
)

// positions are positions of version 1 and their bytes, which stay readable
// for ever.
var positions = map[string]position{
	"a10101":             {after: datamesh.First},
	"a20101041a6b49d200": {after: datamesh.First, ended: time.Unix(1_800_000_000, 0)},
	"a201010258200700000000000000000000000000000000000000000000000000000000000000":                        {after: datamesh.ShardKey{Segment: datamesh.SegmentID{7}}},
	"a401010258200700000000000000000000000000000000000000000000000000000000000000" + "0318ff041a6b49d200": {after: datamesh.ShardKey{Segment: datamesh.SegmentID{7}, Index: 255}, ended: time.Unix(1_800_000_000, 0)},
}

func TestPositionsKeepTheirBytes(t *testing.T) {
	for text, want := range positions {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := want.encode(); !bytes.Equal(got, b) {
			t.Errorf("%+v: got %x, want %x", want, got, b)
		}
		if got, err := decodePosition(b); err != nil || got != want {
			t.Errorf("%x: got %+v, %v, want %+v", b, got, err, want)
		}
	}
}

func TestPositionsThatMakeNoSenseAreRefused(t *testing.T) {
	segment := "025820" + strings.Repeat("07", 32)
	for name, text := range map[string]string{
		"nothing":               "",
		"another version":       "a10102",
		"without a version":     "a0",
		"a short segment":       "a20101024107",
		"an index alone":        "a201010301",
		"too great an index":    "a30101" + segment + "03190100",
		"a time far away":       "a20101041b7fffffffffffffff",
		"more than it may have": "a20101" + "0258ff" + strings.Repeat("00", 255),
		"another field":         "a201010501",
		"something behind":      "a1010100",
	} {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if p, err := decodePosition(b); !errors.Is(err, errs.Serialization) {
			t.Errorf("%s: got %+v, %v, want kind Serialization", name, p, err)
		}
	}
}

func FuzzPosition(f *testing.F) {
	for text := range positions {
		b, _ := hex.DecodeString(text)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := decodePosition(b); err == nil && !bytes.Equal(p.encode(), b) {
			t.Errorf("%x became %x", b, p.encode())
		}
	})
}
