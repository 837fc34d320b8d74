// Package erasure cuts a sealed segment into k data shards and adds m parity
// shards, any k of which give the segment back.
//
// The code is Reed-Solomon over GF(2^8) with polynomial 0x11D and the
// systematic Vandermonde matrix of klauspost/reedsolomon, as docs/format.md
// and its vectors fix it. Data shards are contiguous pieces of the segment,
// so a range of the segment is a range of a shard, and all functions work as
// well on the same range of every shard. With k = 1 every shard is the segment.
package erasure

import (
	"bytes"

	"datamesh"
	"datamesh/internal/errs"

	"github.com/klauspost/reedsolomon"
)

// A Code is a k+m code. It is safe for concurrent use.
type Code struct {
	K, M int
	rs   reedsolomon.Encoder
}

// New returns the k+m code. Kind: Invalid.
func New(k, m int) (*Code, error) {
	if !datamesh.ValidCode(k, m) {
		return nil, errs.New(errs.Invalid, "no code %d+%d: at least 1 data shard, and at most %d shards in all", k, m, datamesh.MaxShards)
	}
	rs, err := reedsolomon.New(k, m, reedsolomon.WithInversionCache(k+m <= 32))
	if err != nil {
		return nil, errs.New(errs.Encoding, "code %d+%d: %w", k, m, err)
	}
	return &Code{k, m, rs}, nil
}

// BufferLen returns the length of a buffer that holds all shards of a segment
// of n sealed bytes.
func (c *Code) BufferLen(n int) int { return datamesh.ShardLen(n, c.K) * (c.K + c.M) }

// Encode cuts the n sealed bytes at the head of buf into data shards, which
// it pads with zeros, and fills in the parity shards behind them. The shards
// alias buf, which has at least BufferLen(n) bytes.
func (c *Code) Encode(buf []byte, n int) ([][]byte, error) {
	shards := c.Cut(buf, n)
	clear(buf[n : len(shards[0])*c.K])
	if c.M == 0 {
		return shards, nil
	}
	if err := c.rs.Encode(shards); err != nil {
		return nil, errs.New(errs.Encoding, "encode %d+%d: %w", c.K, c.M, err)
	}
	return shards, nil
}

// Cut returns the places of the shards of n sealed bytes in buf.
func (c *Code) Cut(buf []byte, n int) [][]byte {
	size := datamesh.ShardLen(n, c.K)
	shards := make([][]byte, c.K+c.M)
	for i := range shards {
		shards[i] = buf[i*size : (i+1)*size : (i+1)*size]
	}
	return shards
}

// Rebuild fills in the shards that have length 0, or of them only the data
// shards, from any k others of equal length. A shard of length 0 with
// capacity enough is rebuilt where it is. Kind: Unavailable, when fewer than
// k are there.
func (c *Code) Rebuild(shards [][]byte, dataOnly bool) error {
	if len(shards) != c.K+c.M {
		return errs.New(errs.Encoding, "rebuild %d+%d: %d shards", c.K, c.M, len(shards))
	}
	have, missing := 0, false
	for i, s := range shards {
		if len(s) > 0 {
			have++
		} else if i < c.K || !dataOnly {
			missing = true
		}
	}
	if have < c.K {
		return errs.New(errs.Unavailable, "%d of %d shards needed", have, c.K)
	}
	if !missing {
		return nil
	}
	rebuild := c.rs.Reconstruct
	if dataOnly {
		rebuild = c.rs.ReconstructData
	}
	if err := rebuild(shards); err != nil {
		return errs.New(errs.Encoding, "rebuild %d+%d: %w", c.K, c.M, err)
	}
	return nil
}

// RebuildSome makes those of the shards that are wanted and have length 0, and
// no others, from any k that are there. Kind: Unavailable, when fewer than k
// are there.
func (c *Code) RebuildSome(shards [][]byte, want []bool) error {
	if len(shards) != c.K+c.M || len(want) != len(shards) {
		return errs.New(errs.Encoding, "rebuild %d+%d: %d shards", c.K, c.M, len(shards))
	}
	have := 0
	for _, s := range shards {
		if len(s) > 0 {
			have++
		}
	}
	if have < c.K {
		return errs.New(errs.Unavailable, "%d of %d shards needed", have, c.K)
	}
	if err := c.rs.ReconstructSome(shards, want); err != nil {
		return errs.New(errs.Encoding, "rebuild %d+%d: %w", c.K, c.M, err)
	}
	return nil
}

// CheckPadding reports with an error of kind Integrity that the k data shards
// in buf have something other than zeros behind the n sealed bytes.
func (c *Code) CheckPadding(buf []byte, n int) error {
	pad := buf[n : datamesh.ShardLen(n, c.K)*c.K]
	if len(bytes.Trim(pad, "\x00")) > 0 {
		return errs.New(errs.Integrity, "padding of the segment is not zero")
	}
	return nil
}
