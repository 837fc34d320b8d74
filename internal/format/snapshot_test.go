package format

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"datamesh"
	"datamesh/internal/errs"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// goldenSnapshot has every field of every block.
func goldenSnapshot() []*SnapshotBlock {
	return []*SnapshotBlock{
		{Version: 1, Head: &SnapshotHead{Key: seed(0x80), Began: 1_800_000_000_123_456_789, Packs: 3, Source: "/home/ü", Host: "laptop"}},
		{Version: 1, Packs: []datamesh.ObjectID{seed(0x81), seed(0x82)}},
		{Version: 1, Packs: []datamesh.ObjectID{seed(0x83)}},
		{Version: 1, Entries: []TreeEntry{
			{Path: ".", Kind: TreeDir, Mode: 0o755, ModTime: 1_700_000_000_000_000_000},
			{Path: "empty", Mode: 0o600, ModTime: -1},
			{Path: "dir/link", Kind: TreeLink, Target: "../empty"},
			{Path: "dir/large", Chunks: []ChunkRef{{Pack: 0, Offset: 0, Length: MaxChunk, ID: seed(0x90)}}, More: true},
		}},
		{Version: 1, Entries: []TreeEntry{
			{Path: "dir/large", Mode: 0o640, ModTime: 1_700_000_000_000_000_001, Size: MaxChunk + 2, Inode: math.MaxUint64, Changed: 1_700_000_000_000_000_002,
				Chunks: []ChunkRef{{Pack: 2, Offset: MaxPack - 1, Length: 1, ID: seed(0x91)}, {Pack: 1, Offset: 70_000, Length: 1, ID: seed(0x92)}}},
		}},
		{Version: 1, End: &SnapshotEnd{Files: 2, Dirs: 1, Links: 1, Bytes: MaxChunk + 2, New: 1 << 40}},
	}
}

var chunkRefs = cmpopts.IgnoreUnexported(ChunkRef{})

func encodeSnapshot(t testing.TB, blocks []*SnapshotBlock) (all []byte) {
	t.Helper()
	for _, b := range blocks {
		var err error
		if all, err = AppendSnapshotBlock(all, b); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func decodeSnapshot(b []byte) (all []*SnapshotBlock, r *SnapshotReader, err error) {
	r = NewSnapshotReader(bytes.NewReader(b))
	for {
		block, err := r.Next()
		if err == io.EOF {
			return all, r, nil
		}
		if err != nil {
			return all, r, err
		}
		all = append(all, block)
	}
}

func TestV1Snapshot(t *testing.T) {
	file := read(t, "snapshot")
	got, r, err := decodeSnapshot(file)
	if diff := cmp.Diff(goldenSnapshot(), got, chunkRefs); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if !cmp.Equal(r.Head, *goldenSnapshot()[0].Head) || !cmp.Equal(r.End, *goldenSnapshot()[5].End) {
		t.Errorf("got %+v and %+v", r.Head, r.End)
	}
	if !bytes.Equal(encodeSnapshot(t, goldenSnapshot()), file) {
		t.Error("it is written otherwise")
	}
}

// A snapshot that is cut off anywhere, or whose blocks are not all there or in
// another order, is refused.
func TestSnapshotsAreWholeOrRefused(t *testing.T) {
	file := read(t, "snapshot")
	for n := range len(file) {
		if _, _, err := decodeSnapshot(file[:n]); !errors.Is(err, errs.Serialization) {
			t.Fatalf("the first %d bytes: got %v, want kind Serialization", n, err)
		}
	}
	good := goldenSnapshot()
	for i := range good {
		for what, blocks := range map[string][]*SnapshotBlock{
			"without": append(append([]*SnapshotBlock{}, good[:i]...), good[i+1:]...),
			"twice":   append(append([]*SnapshotBlock{}, good[:i+1]...), good[i:]...),
		} {
			if _, _, err := decodeSnapshot(encodeSnapshot(t, blocks)); !errors.Is(err, errs.Serialization) {
				t.Errorf("block %d %s: got %v, want kind Serialization", i, what, err)
			}
		}
		for j := range i {
			blocks := append([]*SnapshotBlock{}, good...)
			blocks[i], blocks[j] = blocks[j], blocks[i]
			_, _, err := decodeSnapshot(encodeSnapshot(t, blocks))
			if packs := i == 2 && j == 1; packs != (err == nil) {
				t.Errorf("blocks %d and %d in the place of each other: %v", j, i, err)
			}
		}
	}
	long := binary.BigEndian.AppendUint32(nil, MaxSnapshotBlock+1)
	if _, _, err := decodeSnapshot(append(long, make([]byte, MaxSnapshotBlock+1)...)); !errors.Is(err, errs.Serialization) {
		t.Errorf("a block that is too long: %v", err)
	}
}

func TestSnapshotBlocksThatMakeNoSenseAreRefused(t *testing.T) {
	file := func(change func(*TreeEntry)) func([]*SnapshotBlock) {
		return func(b []*SnapshotBlock) { change(&b[4].Entries[0]) }
	}
	other := func(i int, change func(*TreeEntry)) func([]*SnapshotBlock) {
		return func(b []*SnapshotBlock) { change(&b[3].Entries[i]) }
	}
	for what, change := range map[string]func([]*SnapshotBlock){
		"version":               func(b []*SnapshotBlock) { b[0].Version = 2 },
		"two things":            func(b []*SnapshotBlock) { b[1].End = b[5].End },
		"nothing":               func(b []*SnapshotBlock) { b[5].End = nil },
		"fewer packs":           func(b []*SnapshotBlock) { b[0].Head.Packs = 4 },
		"more packs":            func(b []*SnapshotBlock) { b[0].Head.Packs = 2 },
		"too many packs":        func(b []*SnapshotBlock) { b[0].Head.Packs = MaxSnapshotPacks + 1 },
		"source":                func(b []*SnapshotBlock) { b[0].Head.Source = "\xff" },
		"host":                  func(b []*SnapshotBlock) { b[0].Head.Host = strings.Repeat("h", 257) },
		"negative end":          func(b []*SnapshotBlock) { b[5].End.New = -1 },
		"path up":               file(func(e *TreeEntry) { e.Path = "../x" }),
		"absolute path":         file(func(e *TreeEntry) { e.Path = "/x" }),
		"path with NUL":         file(func(e *TreeEntry) { e.Path = "a\x00b" }),
		"path not in UTF-8":     file(func(e *TreeEntry) { e.Path = "\xff" }),
		"long path":             file(func(e *TreeEntry) { e.Path = strings.Repeat("p", MaxTreePath+1) }),
		"another file's rest":   file(func(e *TreeEntry) { e.Path = "dir/other" }),
		"kind":                  file(func(e *TreeEntry) { e.Kind = 3 }),
		"mode":                  file(func(e *TreeEntry) { e.Mode = 0o1000 }),
		"size":                  file(func(e *TreeEntry) { e.Size++ }),
		"negative size":         file(func(e *TreeEntry) { e.Size = -1 }),
		"no end":                file(func(e *TreeEntry) { e.More = true }),
		"pack that is not":      file(func(e *TreeEntry) { e.Chunks[0].Pack = 3 }),
		"negative pack":         file(func(e *TreeEntry) { e.Chunks[0].Pack = -1 }),
		"chunk behind the pack": file(func(e *TreeEntry) { e.Chunks[0].Offset = MaxPack }),
		"negative offset":       file(func(e *TreeEntry) { e.Chunks[0].Offset = -1 }),
		"empty chunk":           file(func(e *TreeEntry) { e.Chunks[0].Length = 0 }),
		"long chunk":            file(func(e *TreeEntry) { e.Chunks[0].Length = MaxChunk + 1 }),
		"target of a file":      file(func(e *TreeEntry) { e.Target = "x" }),
		"link without one":      other(2, func(e *TreeEntry) { e.Target = "" }),
		"long target":           other(2, func(e *TreeEntry) { e.Target = strings.Repeat("t", MaxTreePath+1) }),
		"link with a size":      other(2, func(e *TreeEntry) { e.Size = 1 }),
		"many entries": func(b []*SnapshotBlock) {
			for range MaxTreeEntries {
				b[3].Entries = append([]TreeEntry{{Path: "e"}}, b[3].Entries...)
			}
		},
		"file at the top":     other(0, func(e *TreeEntry) { e.Kind = TreeFile }),
		"more of nothing":     other(1, func(e *TreeEntry) { e.More, e.Mode, e.ModTime = true, 0, 0 }),
		"mode before the end": other(3, func(e *TreeEntry) { e.Mode = 1 }),
	} {
		blocks := goldenSnapshot()
		change(blocks)
		var text []byte
		for _, b := range blocks {
			m := Marshal(b)
			text = append(append(text, binary.BigEndian.AppendUint32(nil, uint32(len(m)))...), m...)
		}
		if _, _, err := decodeSnapshot(text); !errors.Is(err, errs.Serialization) {
			t.Errorf("%s: got %v, want kind Serialization", what, err)
		}
	}
}

// The largest entry that there can be has room in a block.
func TestAnyEntryHasRoomInABlock(t *testing.T) {
	e := TreeEntry{Path: strings.Repeat("p", MaxTreePath), Mode: 0o777, ModTime: math.MinInt64, Size: math.MaxInt64, Inode: math.MaxUint64, Changed: math.MinInt64}
	for range FewChunks {
		e.Chunks = append(e.Chunks, ChunkRef{Pack: MaxSnapshotPacks - 1, Offset: MaxPack - MaxChunk, Length: MaxChunk, ID: seed(1)})
	}
	if _, err := AppendSnapshotBlock(nil, &SnapshotBlock{Entries: []TreeEntry{e}}); err != nil {
		t.Error(err)
	}
	var small []TreeEntry
	for range MaxTreeEntries {
		small = append(small, TreeEntry{Path: "e"})
	}
	text, err := AppendSnapshotBlock(nil, &SnapshotBlock{Entries: small})
	if err == nil {
		_, err = DecodeSnapshotBlock(text[4:])
	}
	if err != nil {
		t.Error(err)
	}
	link := TreeEntry{Path: strings.Repeat("p", MaxTreePath), Kind: TreeLink, Target: strings.Repeat("t", MaxTreePath), Mode: 0o777, ModTime: math.MinInt64}
	if _, err := AppendSnapshotBlock(nil, &SnapshotBlock{Entries: []TreeEntry{link}}); err != nil {
		t.Error(err)
	}
}

func FuzzReadSnapshot(f *testing.F) {
	f.Add(read(f, "snapshot"))
	f.Fuzz(func(t *testing.T, b []byte) {
		blocks, _, err := decodeSnapshot(b)
		if err != nil {
			return
		}
		again := encodeSnapshot(t, blocks)
		other, _, err := decodeSnapshot(again)
		if err != nil || !cmp.Equal(blocks, other, chunkRefs) || len(again) > len(b) {
			t.Errorf("it is read otherwise the second time: %v", err)
		}
	})
}
