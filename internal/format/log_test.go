package format

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"datamesh/internal/crypt"
	"datamesh/internal/errs"

	"github.com/google/go-cmp/cmp"
)

func goldenBlock() *LogBlock {
	return &LogBlock{
		Version: 1,
		Changes: []Change{
			{Object: seed(0x50), Clock: ClockOf(1_800_000_000_123) + 7, Name: "a name/ÿ", Size: 1_000_000, Tags: []string{"a", "b"},
				Created: 1_800_000_000_000_000_000, Stored: 1_500_024},
			{Object: seed(0x51), Clock: ClockOf(1_800_000_000_124), Size: 5, Created: 1_700_000_000_000_000_000, Stored: 30,
				State: DeletedFinal, At: 1_800_000_000_000_000_001, Word: 1 << 63, Done: true},
			{Object: seed(0x52), Clock: 1, State: Forgotten},
		},
		Runs: []Run{{Object: seed(0x60), Level: 1, Changes: 128}, {Object: seed(0x61), Level: 2, Changes: 4096}},
	}
}

func TestV1LogBlock(t *testing.T) {
	file := read(t, "log-block.cbor")
	got, err := DecodeBlock(file)
	if diff := cmp.Diff(goldenBlock(), got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if b, err := EncodeBlock(goldenBlock()); !bytes.Equal(b, file) || err != nil {
		t.Errorf("it is written otherwise: %v", err)
	}
}

// A change says what the file was, since a list is to say it without reading
// manifests.
func TestV1LogBlockOfFiles(t *testing.T) {
	want := &LogBlock{Version: 1, Changes: []Change{{Object: seed(0x53), Clock: 2, Name: "bin/run", Size: 7, Created: 3, Stored: 42,
		Type: "text/x-shellscript", Mode: 0o755, ModTime: 1_700_000_000_123_456_789}}}
	file := read(t, "log-block-of-files.cbor")
	got, err := DecodeBlock(file)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if b, err := EncodeBlock(want); !bytes.Equal(b, file) || err != nil {
		t.Errorf("it is written otherwise: %v", err)
	}
}

// A change of an object whose manifest was sealed anew, as version 1 has it since
// there are epochs.
func TestV1LogBlockOfARotation(t *testing.T) {
	was := seed(0x51)
	want := &LogBlock{Version: 1, Changes: []Change{{Object: seed(0x50), Clock: 9, Name: "a", Size: 1, Created: 2, Stored: 3, Was: was[:], Epoch: 3}}}
	file := read(t, "log-block-rotation.cbor")
	got, err := DecodeBlock(file)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if b, err := EncodeBlock(want); !bytes.Equal(b, file) || err != nil {
		t.Errorf("it is written otherwise: %v", err)
	}
	for what, spoil := range map[string]func(*Change){
		"a short id":        func(c *Change) { c.Was = c.Was[:31] },
		"a long id":         func(c *Change) { c.Was = append(c.Was, 0) },
		"a negative epoch":  func(c *Change) { c.Epoch = -1 },
		"too late an epoch": func(c *Change) { c.Epoch = MaxEpoch + 1 },
	} {
		c := want.Changes[0]
		c.Was = bytes.Clone(c.Was)
		spoil(&c)
		if _, err := DecodeBlock(Marshal(LogBlock{Version: 1, Changes: []Change{c}})); errs.KindOf(err) != errs.Serialization {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

// A change says all names of an object, and whether it is pinned.
func TestV1LogBlockOfNames(t *testing.T) {
	want := &LogBlock{Version: 1, Changes: []Change{{Object: seed(0x54), Clock: 3, Name: "b", Size: 7, Created: 3, Stored: 42,
		Pinned: true, Further: []string{"a", "dir/ÿ"}}}}
	file := read(t, "log-block-of-names.cbor")
	got, err := DecodeBlock(file)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if b, err := EncodeBlock(want); !bytes.Equal(b, file) || err != nil {
		t.Errorf("it is written otherwise: %v", err)
	}
}

func TestV1SealedLogBlock(t *testing.T) {
	got, err := OpenBlock(read(t, "sealed-log-block.cbor"), seed(0x70))
	if diff := cmp.Diff(goldenBlock(), got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// Blocks are sealed otherwise each time, and open for their owner alone.
func TestSealedBlocksAreTheOwners(t *testing.T) {
	a, err := SealBlock(goldenBlock(), seed(1))
	if err != nil {
		t.Fatal(err)
	}
	b, err := SealBlock(goldenBlock(), seed(1))
	if err != nil || bytes.Equal(a, b) {
		t.Errorf("twice the same: %v", err)
	}
	if _, err := OpenBlock(bytes.Clone(a), seed(2)); !errors.Is(err, errs.Integrity) {
		t.Errorf("with another key: got %v, want kind Integrity", err)
	}
	for i := range a {
		damaged := bytes.Clone(a)
		damaged[i] ^= 1
		if _, err := OpenBlock(damaged, seed(1)); err == nil {
			t.Errorf("it opens with byte %d changed", i)
		}
	}
	if _, err := OpenBlock(a[:len(a)-1], seed(1)); err == nil {
		t.Error("it opens without its end")
	}
	if got, err := OpenBlock(a, seed(1)); err != nil || !cmp.Equal(got, goldenBlock()) {
		t.Errorf("it does not open: %v", err)
	}
}

// The largest change that there can be has room in a block, and in a sealed one.
func TestAnyChangeHasRoomInABlock(t *testing.T) {
	c := Change{Object: seed(1), Clock: math.MaxInt64, Name: strings.Repeat("n", MaxName), Size: math.MaxInt64, Created: math.MinInt64,
		Stored: math.MaxInt64, State: DeletedFinal, At: math.MinInt64, Word: math.MaxUint64, Done: true,
		Type: strings.Repeat("t", MaxType), Mode: 0o777, ModTime: math.MinInt64, Was: make([]byte, 32), Epoch: MaxEpoch}
	for range MaxTags {
		c.Tags = append(c.Tags, strings.Repeat("t", MaxTag))
	}
	c.Pinned = true
	for i := range MaxNames {
		c.Further = append(c.Further, fmt.Sprintf("%02d", i)+strings.Repeat("f", MaxNamesBytes/MaxNames-2))
	}
	sealed, err := SealBlock(&LogBlock{Changes: []Change{c}}, seed(1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenBlock(sealed, seed(1)); err != nil {
		t.Error(err)
	}
	var runs []Run
	for range MaxRuns {
		runs = append(runs, Run{Object: seed(1), Level: logLevels, Changes: math.MaxInt})
	}
	if _, err := SealBlock(&LogBlock{Runs: runs}, seed(1)); err != nil {
		t.Error(err)
	}
	if most := len(Marshal(sealedBlock{Version, seed(1), make([]byte, crypt.SealedLen(MaxLogBlock))})); most > MaxSealedLog {
		t.Errorf("a sealed block may have %d bytes", most)
	}
}

func TestBlocksThatMakeNoSenseAreRefused(t *testing.T) {
	for what, change := range map[string]func(*LogBlock){
		"version":            func(b *LogBlock) { b.Version = 2 },
		"clock 0":            func(b *LogBlock) { b.Changes[0].Clock = 0 },
		"clock too great":    func(b *LogBlock) { b.Changes[0].Clock = 1 << 63 },
		"state":              func(b *LogBlock) { b.Changes[0].State = 4 },
		"listed, with time":  func(b *LogBlock) { b.Changes[0].At = 1 },
		"listed, with word":  func(b *LogBlock) { b.Changes[0].Word = 1 },
		"listed and done":    func(b *LogBlock) { b.Changes[0].Done = true },
		"name":               func(b *LogBlock) { b.Changes[0].Name = strings.Repeat("n", MaxName+1) },
		"tag":                func(b *LogBlock) { b.Changes[0].Tags = []string{""} },
		"size":               func(b *LogBlock) { b.Changes[0].Size = -1 },
		"stored":             func(b *LogBlock) { b.Changes[0].Stored = -1 },
		"type":               func(b *LogBlock) { b.Changes[0].Type = strings.Repeat("t", MaxType+1) },
		"mode":               func(b *LogBlock) { b.Changes[0].Mode = 0o1000 },
		"further, not alone": func(b *LogBlock) { b.Changes[1].Further = []string{"a"} },
		"further, the same":  func(b *LogBlock) { b.Changes[0].Further = []string{b.Changes[0].Name} },
		"further, twice":     func(b *LogBlock) { b.Changes[0].Further = []string{"b", "b"} },
		"further, no order":  func(b *LogBlock) { b.Changes[0].Further = []string{"c", "b"} },
		"further, empty":     func(b *LogBlock) { b.Changes[0].Further = []string{""} },
		"further, too long":  func(b *LogBlock) { b.Changes[0].Further = []string{strings.Repeat("n", MaxName+1)} },
		"further, too much": func(b *LogBlock) {
			b.Changes[0].Further = []string{strings.Repeat("n", MaxName), strings.Repeat("o", MaxName), "p"}
		},
		"further, too many": func(b *LogBlock) {
			for i := range MaxNames + 1 {
				b.Changes[0].Further = append(b.Changes[0].Further, fmt.Sprintf("n%02d", i))
			}
		},
		"level 0":   func(b *LogBlock) { b.Runs[0].Level = 0 },
		"level":     func(b *LogBlock) { b.Runs[0].Level = logLevels + 1 },
		"empty run": func(b *LogBlock) { b.Runs[0].Changes = 0 },
		"many runs": func(b *LogBlock) { b.Runs = make([]Run, MaxRuns+1) },
	} {
		b := goldenBlock()
		change(b)
		if _, err := DecodeBlock(Marshal(b)); !errors.Is(err, errs.Serialization) {
			t.Errorf("%s: got %v, want kind Serialization", what, err)
		}
		if _, err := EncodeBlock(b); err == nil && what != "version" {
			t.Errorf("%s: it is written", what)
		}
	}
	if _, err := DecodeBlock(make([]byte, MaxLogBlock+1)); !errors.Is(err, errs.Serialization) {
		t.Errorf("too long: %v", err)
	}
}

func FuzzDecodeLogBlock(f *testing.F) {
	f.Add(read(f, "log-block.cbor"))
	f.Add(read(f, "log-block-of-files.cbor"))
	f.Add(read(f, "log-block-of-names.cbor"))
	f.Add(read(f, "log-block-rotation.cbor"))
	f.Add(read(f, "log-block-succession.cbor"))
	f.Fuzz(func(t *testing.T, b []byte) {
		block, err := DecodeBlock(b)
		if err != nil {
			return
		}
		again, err := EncodeBlock(block)
		if err != nil {
			t.Fatal(err)
		}
		if other, err := DecodeBlock(again); err != nil || !cmp.Equal(block, other) {
			t.Errorf("it is read otherwise: %v", err)
		}
	})
}

func FuzzOpenLogBlock(f *testing.F) {
	f.Add(read(f, "sealed-log-block.cbor"))
	f.Fuzz(func(t *testing.T, b []byte) {
		OpenBlock(bytes.Clone(b), seed(0x70))
	})
}

func TestPacksAreInternal(t *testing.T) {
	for _, tt := range []struct {
		mediaType string
		want      bool
	}{
		{"application/vnd.datamesh.pack", true},
		{"application/vnd.datamesh.backup+pack", true},
		{"application/vnd.datamesh.backup", false},
		{"application/vnd.datamesh.backpack", false},
		{"application/vnd.other.pack", false},
		{"", false},
	} {
		if got := Internal(tt.mediaType); got != tt.want {
			t.Errorf("%s: got %t", tt.mediaType, got)
		}
	}
}
