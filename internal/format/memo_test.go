package format

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"testing"

	"datamesh"
	"datamesh/internal/errs"
)

// What was found good does not vouch for anything else: another signature of the same
// segment, or the same one of another segment.
func TestAGoodDescriptorVouchesForNoOther(t *testing.T) {
	owner := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	good, err := NewDescriptor(owner, 1, 1, 10, []datamesh.ShardID{{1}, {2}})
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewDescriptor(owner, 1, 1, 10, []datamesh.ShardID{{3}, {4}})
	if err != nil {
		t.Fatal(err)
	}
	unsigned, moved := *good, *other
	unsigned.Signature[5] ^= 1
	moved.Signature = good.Signature
	for range 3 {
		if _, err := DecodeDescriptor(EncodeDescriptor(good)); err != nil {
			t.Error(err)
		}
		for _, d := range []*datamesh.Descriptor{&unsigned, &moved} {
			if _, err := DecodeDescriptor(EncodeDescriptor(d)); !errors.Is(err, errs.Authentication) {
				t.Errorf("got %v, want kind Authentication", err)
			}
		}
	}
}

func TestMemoHasTheLast(t *testing.T) {
	const size, last = 512, memoBytes / 512
	var m memo
	key := func(i int) []byte { return binary.BigEndian.AppendUint64(make([]byte, size-8), uint64(i)) }
	for i := range 10*last + 7 {
		d := new(datamesh.Descriptor)
		m.add(key(i), d)
		if m.get(key(i)) != d || m.get(key(max(0, i-last+1))) == nil || m.get(key(i+1)) != nil || len(m.young)+len(m.old) > 2*last {
			t.Fatalf("after %d: it has not the last %d, or more than twice as many: %d and %d", i, last, len(m.young), len(m.old))
		}
	}
	if m.get(key(0)) != nil {
		t.Error("it forgets nothing")
	}
}
