package store

import (
	"bytes"
	"encoding/binary"
	"io"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/hash"
)

// A shard file says by itself what it is, so that the index can be rebuilt
// from the files alone:
//
//	offset  bytes
//	0       8      magic: "dmshard" and a zero byte
//	8       1      version: 1
//	9       4      n, the length of the record, big-endian; at most maxRecord
//	13      n      record: deterministic CBOR, a map
//	                 1: SegmentID, 32 bytes
//	                 2: index of the shard, unsigned
//	                 3: the descriptor and its signature, bytes as
//	                    format.EncodeDescriptor makes them
//	13+n    b      outboard: the inner nodes of the shard's BLAKE3 tree as Bao
//	               has them, groups of 16 KiB; its 8 bytes of length first
//	13+n+b  s      the shard
//
// s follows from the descriptor and b from s; the file has no other byte. The
// header is everything before the outboard. It is believed only when the
// owner's signature in the descriptor holds and the record's segment is the
// descriptor's; the index is vouched for by the hash of the shard alone.
const (
	fileMagic   = "dmshard\x00"
	fileVersion = 1
	prefixSize  = len(fileMagic) + 1 + 4
	maxRecord   = format.MaxDescriptor + 64
)

// record is the CBOR part of a header.
type record struct {
	Segment    datamesh.SegmentID `cbor:"1,keyasint"`
	Index      int                `cbor:"2,keyasint"`
	Descriptor []byte             `cbor:"3,keyasint"`
}

// encodeHeader returns the header of the shard's file. Descriptor is encoded.
func encodeHeader(key datamesh.ShardKey, descriptor []byte) []byte {
	rec := format.Marshal(record{key.Segment, key.Index, descriptor})
	b := append(make([]byte, 0, prefixSize+len(rec)), fileMagic...)
	b = append(b, fileVersion)
	b = binary.BigEndian.AppendUint32(b, uint32(len(rec)))
	return append(b, rec...)
}

// A header is what the beginning of a shard file says, once it is believed.
type header struct {
	key        datamesh.ShardKey
	descriptor *datamesh.Descriptor
	size       int // of the header itself
}

// fileSize returns the length that the whole file must have.
func (h *header) fileSize() int64 { return fileSize(h.size, h.descriptor.ShardLen()) }

// fileSize returns the length of the file of a shard of n bytes.
func fileSize(header, n int) int64 { return int64(header + hash.OutboardSize(n) + n) }

// readHeader reads the header at the beginning of r and checks that the owner
// of its segment has signed it. Kinds: Serialization, Authentication,
// Integrity, IO.
func readHeader(r io.Reader) (*header, error) {
	var prefix [prefixSize]byte
	if err := readFull(r, prefix[:]); err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(prefix[:], []byte(fileMagic)) {
		return nil, errs.New(errs.Serialization, "not a shard file")
	}
	if v := prefix[len(fileMagic)]; v != fileVersion {
		return nil, errs.New(errs.Serialization, "shard file of version %d, this program knows %d", v, fileVersion)
	}
	n := binary.BigEndian.Uint32(prefix[len(fileMagic)+1:])
	if n > maxRecord {
		return nil, errs.New(errs.Serialization, "header of %d bytes, limit %d", n, maxRecord)
	}
	b := make([]byte, n)
	if err := readFull(r, b); err != nil {
		return nil, err
	}
	h := &header{size: prefixSize + len(b)}
	return h, h.decode(b)
}

func (h *header) decode(b []byte) (err error) {
	var rec record
	if err := format.Unmarshal("shard header", b, maxRecord, &rec); err != nil {
		return err
	}
	if h.descriptor, err = format.DecodeDescriptor(rec.Descriptor); err != nil {
		return err
	}
	if h.descriptor.Segment != rec.Segment {
		return errs.New(errs.Integrity, "header of %s has the descriptor of %s", rec.Segment, h.descriptor.Segment)
	}
	h.key = datamesh.ShardKey{Segment: rec.Segment, Index: rec.Index}
	return checkShape(h.descriptor, rec.Index, h.descriptor.ShardLen())
}

func readFull(r io.Reader, b []byte) error {
	switch _, err := io.ReadFull(r, b); err {
	case nil:
		return nil
	case io.EOF, io.ErrUnexpectedEOF:
		return errs.New(errs.Serialization, "header ends early")
	default:
		return errs.New(kindOf(err), "header: %w", err)
	}
}
