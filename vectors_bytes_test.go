package datamesh_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	stdhkdf "crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"testing"

	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/erasure"
	"datamesh/internal/hash"
)

// short is how much of a result stands in a file; of more there is the hash.
const short = 1100

func hkdf(t *testing.T, secret []byte, label string) []byte {
	t.Helper()
	b, err := stdhkdf.Key(sha256.New, secret, nil, label, 32)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func plain(b []byte) hexa {
	id := hash.Shard(b)
	return id[:]
}

func brief(b []byte) hexa {
	if len(b) > short {
		return nil
	}
	return b
}

type frameVectors struct {
	About    string `json:"about"`
	Segments []struct {
		Key           hexa    `json:"key"`
		ContentLength int     `json:"content_length"`
		SealedLength  int     `json:"sealed_length"`
		Frames        []frame `json:"frames"`
		Sealed        hexa    `json:"sealed,omitempty"`
		SealedBLAKE3  hexa    `json:"sealed_blake3"`
	} `json:"segments"`
	Commitments []struct {
		Key        hexa `json:"key"`
		Commitment hexa `json:"commitment"`
	} `json:"commitments"`
}

type frame struct {
	Number        int  `json:"number"`
	Last          bool `json:"last"`
	Nonce         hexa `json:"nonce"`
	ContentLength int  `json:"content_length"`
	Tag           hexa `json:"tag"`
}

// compute seals by itself, since package crypt does not seal under a given
// key, and lets crypt open what comes of it.
func (v frameVectors) compute(t *testing.T) frameVectors {
	v.Segments, v.Commitments = slices.Clone(v.Segments), slices.Clone(v.Commitments)
	for i := range v.Segments {
		s := &v.Segments[i]
		text := content(s.ContentLength)
		var sealed []byte
		s.Frames, sealed = seal(t, s.Key, text)
		s.SealedLength, s.Sealed, s.SealedBLAKE3 = crypt.SealedLen(s.ContentLength), brief(sealed), plain(sealed)
		if s.SealedLength != len(sealed) {
			t.Errorf("%d bytes of content: %d sealed, crypt says %d", s.ContentLength, len(sealed), s.SealedLength)
		}
		opened := bytes.Clone(sealed)
		n, err := crypt.Open(crypt.Key(s.Key), opened)
		if err != nil || n != len(text) {
			t.Errorf("%d bytes of content: %d opened, %v", s.ContentLength, n, err)
			continue
		}
		var out bytes.Buffer
		if err := crypt.Drain(&out, opened, n); err != nil || !bytes.Equal(out.Bytes(), text) {
			t.Errorf("%d bytes of content: others come out, %v", s.ContentLength, err)
		}
	}
	for i := range v.Commitments {
		c := &v.Commitments[i]
		sum := crypt.Commit(crypt.Key(c.Key))
		c.Commitment = sum[:]
	}
	return v
}

func seal(t *testing.T, key, text []byte) (frames []frame, sealed []byte) {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		part := text[:min(len(text), 65536)]
		text = text[len(part):]
		f := frame{Number: i, Last: len(text) == 0, Nonce: make(hexa, 12), ContentLength: len(part)}
		binary.BigEndian.PutUint64(f.Nonce[3:11], uint64(i))
		if f.Last {
			f.Nonce[11] = 1
		}
		sealed = aead.Seal(sealed, f.Nonce, part, nil)
		f.Tag = bytes.Clone(sealed[len(sealed)-16:])
		frames = append(frames, f)
		if f.Last {
			return frames, sealed
		}
	}
}

type shardVectors struct {
	About string `json:"about"`
	Codes []struct {
		K           int    `json:"k"`
		M           int    `json:"m"`
		Matrix      []hexa `json:"matrix"`
		Segment     hexa   `json:"segment"`
		ShardLength int    `json:"shard_length"`
		Shards      []hexa `json:"shards"`
		ShardIDs    []hexa `json:"shard_ids"`
	} `json:"codes"`
}

func (v shardVectors) compute(t *testing.T) shardVectors {
	v.Codes = slices.Clone(v.Codes)
	for i := range v.Codes {
		c := &v.Codes[i]
		code, err := erasure.New(c.K, c.M)
		if err != nil {
			t.Fatal(err)
		}
		unit := make([]byte, c.K*c.K) // its shards are the rows of the matrix
		for j := range c.K {
			unit[j*c.K+j] = 1
		}
		c.Matrix = shardsOf(t, code, unit)
		c.ShardLength = datamesh.ShardLen(len(c.Segment), c.K)
		c.Shards = shardsOf(t, code, c.Segment)
		c.ShardIDs = each(c.Shards, func(s hexa) hexa { return plain(s) })
	}
	return v
}

func shardsOf(t *testing.T, code *erasure.Code, segment []byte) (out []hexa) {
	t.Helper()
	buf := make([]byte, code.BufferLen(len(segment)))
	shards, err := code.Encode(buf, copy(buf, segment))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range shards {
		out = append(out, s)
	}
	return out
}

type sliceVectors struct {
	About  string `json:"about"`
	Shards []struct {
		Length   int     `json:"length"`
		ShardID  hexa    `json:"shard_id"`
		Outboard hexa    `json:"outboard"`
		Slices   []slice `json:"slices"`
	} `json:"shards"`
}

type slice struct {
	Offset      int  `json:"offset"`
	Length      int  `json:"length"`
	SliceLength int  `json:"slice_length"`
	Slice       hexa `json:"slice,omitempty"`
	SliceBLAKE3 hexa `json:"slice_blake3"`
}

func (v sliceVectors) compute(t *testing.T) sliceVectors {
	v.Shards = slices.Clone(v.Shards)
	for i := range v.Shards {
		s := &v.Shards[i]
		shard := content(s.Length)
		outboard, id := hash.Outboard(shard)
		s.Outboard, s.ShardID = outboard, id[:]
		s.Slices = each(s.Slices, func(r slice) slice {
			b, err := hash.Slice(bytes.NewReader(shard), len(shard), outboard, r.Offset, r.Length)
			if err != nil {
				t.Fatal(err)
			}
			if got, ok := hash.Open(b, r.Offset, r.Length, id); !ok || !bytes.Equal(got, shard[r.Offset:r.Offset+r.Length]) {
				t.Errorf("%d bytes from %d of %d do not open", r.Length, r.Offset, s.Length)
			}
			r.SliceLength, r.Slice, r.SliceBLAKE3 = len(b), brief(b), plain(b)
			return r
		})
	}
	return v
}
