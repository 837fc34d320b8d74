package format

import (
	"encoding/binary"
	"io"
	"io/fs"
	"strings"
	"unicode/utf8"

	"datamesh"
	"datamesh/internal/errs"
)

// The media types of the objects that backups consist of.
const (
	// PackType is that of a pack: chunks of files, one after the other. What is
	// where in it stands in the snapshots that refer to it.
	PackType = "application/vnd.datamesh.pack"
	// SnapshotType is that of a snapshot: a tree as it was at some time.
	SnapshotType = "application/vnd.datamesh.snapshot"
)

// How content is cut into chunks. An owner whose programs cut otherwise loses
// nothing, and stores twice what they have in common.
const (
	MinChunk     = 256 << 10 // bytes, but for the last of a file
	AverageChunk = 1 << 20
	MaxChunk     = 4 << 20
)

// Limits of a snapshot.
const (
	MaxSnapshotBlock = 64 << 10 // bytes of a block
	MaxSnapshotPacks = 1 << 24  // packs of a snapshot
	MaxPack          = 1 << 30  // bytes of a pack
	MaxTreePath      = 4096     // bytes of a path, and of what a link leads to

	// MaxTreeEntries is how many entries a block has at most.
	MaxTreeEntries = fewElements

	// FewChunks is how many chunks an entry may have and still fit into a block,
	// whatever its other fields are.
	FewChunks = 1000
)

// What an entry of a tree is.
const (
	TreeFile = iota
	TreeDir
	TreeLink
)

// A SnapshotBlock is a piece of a snapshot. One with the head is the first; those
// with packs follow, then those with entries; the one with the end is the last.
type SnapshotBlock struct {
	Version uint64              `cbor:"1,keyasint"`
	Head    *SnapshotHead       `cbor:"2,keyasint,omitempty"`
	Packs   []datamesh.ObjectID `cbor:"3,keyasint,omitempty"`
	Entries []TreeEntry         `cbor:"4,keyasint,omitempty"`
	End     *SnapshotEnd        `cbor:"5,keyasint,omitempty"`
}

// A SnapshotHead says what a snapshot is of.
type SnapshotHead struct {
	Key    [32]byte `cbor:"1,keyasint"`           // that the ids of chunks are keyed with
	Began  int64    `cbor:"2,keyasint"`           // nanoseconds since 1970
	Packs  int      `cbor:"3,keyasint,omitempty"` // how many there are
	Source string   `cbor:"4,keyasint,omitempty"` // the directory
	Host   string   `cbor:"5,keyasint,omitempty"`
}

// A TreeEntry is a file, directory or symbolic link. A file with many chunks is
// in several entries that follow each other: all but the last have its path and
// chunks alone.
type TreeEntry struct {
	Path    string     `cbor:"1,keyasint"`            // from the top, which is "."
	Kind    uint64     `cbor:"2,keyasint,omitempty"`  // [TreeFile] to [TreeLink]
	Mode    uint32     `cbor:"3,keyasint,omitempty"`  // permission bits, or datamesh.NoPermissions
	ModTime int64      `cbor:"4,keyasint,omitempty"`  // nanoseconds since 1970; 0: not known
	Size    int64      `cbor:"5,keyasint,omitempty"`  // bytes of content
	Target  string     `cbor:"6,keyasint,omitempty"`  // of a link
	Chunks  []ChunkRef `cbor:"7,keyasint,omitempty"`  // of the content, in order
	More    bool       `cbor:"8,keyasint,omitempty"`  // the next entry has more of them
	Inode   uint64     `cbor:"9,keyasint,omitempty"`  // 0: whether the file has changed since cannot be told
	Changed int64      `cbor:"10,keyasint,omitempty"` // when its inode did, nanoseconds since 1970
}

// A ChunkRef says where a chunk is.
type ChunkRef struct {
	_      struct{} `cbor:",toarray"`
	Pack   int      // by its place among the packs
	Offset int64    // bytes from the beginning of the pack
	Length int
	ID     [32]byte // hash of the bytes, keyed with that of the head
}

// A SnapshotEnd sums a snapshot up.
type SnapshotEnd struct {
	Files int64 `cbor:"1,keyasint"`
	Dirs  int64 `cbor:"2,keyasint"`
	Links int64 `cbor:"3,keyasint"`
	Bytes int64 `cbor:"4,keyasint"` // of all files
	New   int64 `cbor:"5,keyasint"` // of the packs that were made for it
}

// AppendSnapshotBlock appends a block after its length in four bytes. Kind:
// Invalid, for one that could not be read back.
func AppendSnapshotBlock(to []byte, b *SnapshotBlock) ([]byte, error) {
	b.Version = Version
	if err := b.check(); err != nil {
		return nil, errs.New(errs.Invalid, "%w", err)
	}
	text := Marshal(b)
	if len(text) > MaxSnapshotBlock {
		return nil, errs.New(errs.Invalid, "block of a snapshot: %d bytes, limit %d", len(text), MaxSnapshotBlock)
	}
	return append(binary.BigEndian.AppendUint32(to, uint32(len(text))), text...), nil
}

// DecodeSnapshotBlock reads a block without its length. Kind: Serialization.
func DecodeSnapshotBlock(text []byte) (*SnapshotBlock, error) {
	b := new(SnapshotBlock)
	if err := unmarshalOpen("block of a snapshot", text, MaxSnapshotBlock, b); err != nil {
		return nil, err
	}
	return b, b.check()
}

func (b *SnapshotBlock) check() error {
	parts := 0
	for _, there := range []bool{b.Head != nil, len(b.Packs) > 0, len(b.Entries) > 0, b.End != nil} {
		if there {
			parts++
		}
	}
	if parts != 1 {
		return errs.New(errs.Serialization, "block of a snapshot: %d things in it, not 1", parts)
	}
	if h := b.Head; h != nil {
		if h.Packs < 0 || h.Packs > MaxSnapshotPacks || !isText(h.Source, MaxTreePath) || !isText(h.Host, 256) {
			return errs.New(errs.Serialization, "head of a snapshot: it has %d packs", h.Packs)
		}
	}
	if e := b.End; e != nil && min(e.Files, e.Dirs, e.Links, e.Bytes, e.New) < 0 {
		return errs.New(errs.Serialization, "end of a snapshot: a negative number")
	}
	if len(b.Entries) > MaxTreeEntries {
		return errs.New(errs.Serialization, "block of a snapshot: %d entries, limit %d", len(b.Entries), MaxTreeEntries)
	}
	for i := range b.Entries {
		if err := b.Entries[i].check(); err != nil {
			return err
		}
	}
	return nil
}

func isText(s string, limit int) bool { return len(s) <= limit && utf8.ValidString(s) }

func (e *TreeEntry) check() error {
	switch {
	case !isText(e.Path, MaxTreePath) || !fs.ValidPath(e.Path) || strings.ContainsRune(e.Path, 0):
		return errs.New(errs.Serialization, "entry of a tree: %.40q is no path", e.Path)
	case e.Kind > TreeLink || !datamesh.ValidMode(e.Mode) || e.Size < 0:
		return errs.New(errs.Serialization, "entry of a tree: kind %d, mode %#o, %d bytes", e.Kind, e.Mode, e.Size)
	case (e.Kind == TreeLink) != (e.Target != "") || !isText(e.Target, MaxTreePath) || strings.ContainsRune(e.Target, 0):
		return errs.New(errs.Serialization, "entry of a tree: kind %d leads to %.40q", e.Kind, e.Target)
	case e.Kind != TreeFile && (len(e.Chunks) > 0 || e.More || e.Size != 0):
		return errs.New(errs.Serialization, "entry of a tree: kind %d with content", e.Kind)
	case e.Kind == TreeFile && e.Path == ".":
		return errs.New(errs.Serialization, "entry of a tree: a file at its top")
	case e.More && (len(e.Chunks) == 0 || e.Mode != 0 || e.ModTime != 0 || e.Size != 0 || e.Inode != 0 || e.Changed != 0):
		return errs.New(errs.Serialization, "entry of a tree: it is not the last of %.40q, and has more than chunks", e.Path)
	}
	for _, c := range e.Chunks {
		if c.Pack < 0 || c.Pack >= MaxSnapshotPacks || c.Length < 1 || c.Length > MaxChunk || c.Offset < 0 || c.Offset > MaxPack-int64(c.Length) {
			return errs.New(errs.Serialization, "chunk of %d bytes at %d of pack %d", c.Length, c.Offset, c.Pack)
		}
	}
	return nil
}

// A SnapshotReader reads a snapshot, and sees that its blocks fit together.
type SnapshotReader struct {
	Head SnapshotHead // once the first block was read
	End  SnapshotEnd  // once the last was

	r     io.Reader
	stage int // what has come: nothing, the head, packs, entries, the end
	packs int
	path  string // of a file that more must come of
	bytes int64  // of it
}

// NewSnapshotReader returns a reader of what r has.
func NewSnapshotReader(r io.Reader) *SnapshotReader { return &SnapshotReader{r: r} }

// Next returns the next block, and io.EOF after the last one. Kinds:
// Serialization, and those of the reader.
func (s *SnapshotReader) Next() (*SnapshotBlock, error) {
	var head [4]byte
	switch _, err := io.ReadFull(s.r, head[:]); {
	case err == io.EOF && s.stage == 4:
		return nil, io.EOF
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		return nil, errs.New(errs.Serialization, "snapshot: it is cut off")
	case err != nil:
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > MaxSnapshotBlock {
		return nil, errs.New(errs.Serialization, "snapshot: a block of %d bytes, limit %d", n, MaxSnapshotBlock)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(s.r, text); err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil, errs.New(errs.Serialization, "snapshot: it is cut off")
	} else if err != nil {
		return nil, err
	}
	b, err := DecodeSnapshotBlock(text)
	if err != nil {
		return nil, err
	}
	return b, s.take(b)
}

// take sees that a block fits to those before it.
func (s *SnapshotReader) take(b *SnapshotBlock) error {
	stage := 3
	switch {
	case b.Head != nil:
		stage, s.Head = 1, *b.Head
	case len(b.Packs) > 0:
		stage = 2
		s.packs += len(b.Packs)
	case b.End != nil:
		stage, s.End = 4, *b.End
	}
	if stage < s.stage || stage == s.stage && (stage == 1 || stage == 4) || s.stage == 0 && stage != 1 || s.packs > s.Head.Packs ||
		stage > 2 && s.packs != s.Head.Packs || stage == 4 && s.path != "" {
		return errs.New(errs.Serialization, "snapshot: its blocks are in no order")
	}
	s.stage = stage
	for i := range b.Entries {
		if err := s.entry(&b.Entries[i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *SnapshotReader) entry(e *TreeEntry) error {
	if s.path != "" && (e.Path != s.path || e.Kind != TreeFile) {
		return errs.New(errs.Serialization, "snapshot: %.40q has no end", s.path)
	}
	for _, c := range e.Chunks {
		if c.Pack >= s.packs {
			return errs.New(errs.Serialization, "snapshot: a chunk is in pack %d of %d", c.Pack, s.packs)
		}
		s.bytes += int64(c.Length)
	}
	if e.More {
		s.path = e.Path
		return nil
	}
	if s.bytes != e.Size {
		return errs.New(errs.Serialization, "snapshot: the chunks of %.40q have %d bytes, not %d", e.Path, s.bytes, e.Size)
	}
	s.path, s.bytes = "", 0
	return nil
}
