package hash

import (
	"encoding/binary"
	"math/bits"

	"datamesh"

	"lukechampine.com/blake3/guts"
)

// Group is the number of bytes that are proven together: 16 KiB, which keeps
// the outboard at 0.4 % of the shard. As many chunks are compressed at once.
const Group = 1 << groupLog * guts.ChunkSize

const groupLog = 4 // BLAKE3 chunks of 1 KiB in a group, as a power of two

// Outboard returns the inner nodes of the shard's hash tree in Bao's outboard
// form, and the root, which is the shard's ShardID.
func Outboard(shard []byte) (outboard []byte, id datamesh.ShardID) {
	outboard = make([]byte, OutboardSize(len(shard)))
	binary.LittleEndian.PutUint64(outboard, uint64(len(shard)))
	root := subtree(shard, 0, outboard[8:])
	root.Flags |= guts.FlagRoot
	putNode(id[:], guts.ChainingValue(root))
	return outboard, id
}

// OutboardSize returns the length of the outboard of a shard of n bytes.
func OutboardSize(n int) int { return 8 + parentsSize(n) }

// parentsSize returns the bytes of all parents above the groups of n bytes.
func parentsSize(n int) int { return max(0, (n-1)/Group) * 64 }

// subtree returns the node above b, which begins with the chunk of that
// number, and puts the parents above its groups into out, in pre-order.
func subtree(b []byte, chunk uint64, out []byte) guts.Node {
	if len(b) <= Group {
		return group(b, chunk)
	}
	half := Group << (bits.Len(uint((len(b)-1)/Group)) - 1) // a power of two below the length
	own, below := out[:64], out[64:]
	l := guts.ChainingValue(subtree(b[:half], chunk, below))
	r := guts.ChainingValue(subtree(b[half:], chunk+uint64(half/guts.ChunkSize), below[parentsSize(half):]))
	putNode(own, l)
	putNode(own[32:], r)
	return guts.ParentNode(l, r, &guts.IV, 0)
}

// group returns the node above at most a group of bytes.
func group(b []byte, chunk uint64) guts.Node {
	if len(b) == Group {
		return guts.CompressBuffer((*[Group]byte)(b), Group, &guts.IV, chunk, 0)
	}
	var buf [Group]byte
	return guts.CompressBuffer(&buf, copy(buf[:], b), &guts.IV, chunk, 0)
}

func putNode(out []byte, cv [8]uint32) {
	for i, word := range cv {
		binary.LittleEndian.PutUint32(out[4*i:], word)
	}
}
