package format

import (
	"bytes"
	"math"
	"testing"
	"time"

	"datamesh/internal/crypt"
	"datamesh/internal/errs"

	"github.com/google/go-cmp/cmp"
)

func TestOnlyRecipientsOpenAManifest(t *testing.T) {
	owner, toOwner := identity(t, 1)
	friend, toFriend := identity(t, 2)
	stranger, _ := identity(t, 3)
	want := goldenManifest()
	b, err := SealManifest(want, []crypt.Recipient{toOwner, toFriend})
	if err != nil {
		t.Fatal(err)
	}
	for _, ids := range [][]crypt.Identity{{owner}, {friend}, {stranger, friend}} {
		got, err := OpenManifest(b, ids)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got, keys); d != "" {
			t.Error(d)
		}
	}
	for _, ids := range [][]crypt.Identity{{stranger}, {stranger, classic(t)}, nil} {
		if _, err := OpenManifest(b, ids); errs.KindOf(err) != errs.Decryption {
			t.Errorf("others: got %v, want Decryption", err)
		}
	}
}

func TestASealedManifestShowsNothing(t *testing.T) {
	_, to := identity(t, 1)
	m := goldenManifest()
	a, err := SealManifest(m, []crypt.Recipient{to})
	if err != nil {
		t.Fatal(err)
	}
	b, err := SealManifest(m, []crypt.Recipient{to})
	if err != nil {
		t.Fatal(err)
	}
	secrets := [][]byte{[]byte(m.Name), []byte(m.Type), []byte(m.Tags[0]), []byte(m.Tags[1]), m.Segments[0].Key[:], m.Segments[0].ID[:], m.Peers[0][:]}
	for _, secret := range secrets {
		if !bytes.Contains(Marshal(m), secret) {
			t.Errorf("%q is not in the manifest", secret)
		}
		if bytes.Contains(a, secret) {
			t.Errorf("%q can be read", secret)
		}
	}
	seen := map[[16]byte]bool{}
	for i := 0; i+16 <= len(a); i++ {
		seen[[16]byte(a[i:])] = true
	}
	for i := 0; i+16 <= len(b); i++ {
		if seen[[16]byte(b[i:])] {
			t.Fatalf("two envelopes of one manifest have %q in common", b[i:i+16])
		}
	}
}

func TestOpenManifestRefusesOtherForms(t *testing.T) {
	owner, _ := identity(t, 5)
	open := func(b []byte) error { _, err := OpenManifest(b, []crypt.Identity{owner}); return err }
	good := read(t, "sealed-manifest.cbor")
	for what, bad := range mutations(good) {
		// With one of its two envelopes lost or long, it is well-formed and does not open.
		err := open(bad)
		if kind := errs.KindOf(err); kind != errs.Serialization && kind != errs.Decryption {
			t.Errorf("%s: got %v", what, err)
		}
	}
	for n := 0; n < len(good); n += 1 + n/50 {
		refuse(t, "cut off", open, good[:n], errs.Serialization)
	}
	refuseVersions(t, open, func(v []byte) []byte { return with(good, 1, v) })
	refuseVersions(t, open, func(v []byte) []byte { return with(with(good, 1, v), 5, []byte{0}) })

	var e envelope
	if err := Unmarshal("envelope", good, maxEnvelope, &e); err != nil {
		t.Fatal(err)
	}
	three := e
	three.Wraps = append(three.Wraps, three.Wraps[0])
	refuse(t, "three envelopes of the key", open, Marshal(three), errs.Serialization)
	none := e
	none.Wraps = nil
	refuse(t, "no envelope of the key", open, Marshal(none), errs.Serialization)
	long := e
	long.Wraps = [][]byte{make([]byte, crypt.MaxWrap+1)}
	refuse(t, "a long envelope of the key", open, Marshal(long), errs.Serialization)
	refuse(t, "far too long", open, append(good, make([]byte, maxEnvelope)...), errs.Serialization)
}

func TestADamagedManifestDoesNotOpen(t *testing.T) {
	owner, _ := identity(t, 5)
	good := read(t, "sealed-manifest.cbor")
	var e envelope
	if err := Unmarshal("envelope", good, maxEnvelope, &e); err != nil {
		t.Fatal(err)
	}
	others := bytes.Index(good, e.Wraps[1]) // which the owner does not look at
	for i := 0; i < len(good); i += 7 {
		if i >= others && i < others+len(e.Wraps[1]) {
			continue
		}
		bad := bytes.Clone(good)
		bad[i] ^= 1
		_, err := OpenManifest(bad, []crypt.Identity{owner})
		if kind := errs.KindOf(err); kind != errs.Serialization && kind != errs.Decryption && kind != errs.Integrity {
			t.Errorf("byte %d: got %v", i, err)
		}
	}
}

func TestADamagedBodyOrCommitmentIsAnIntegrityError(t *testing.T) {
	owner, _ := identity(t, 5)
	open := func(b []byte) error { _, err := OpenManifest(b, []crypt.Identity{owner}); return err }
	var e envelope
	if err := Unmarshal("envelope", read(t, "sealed-manifest.cbor"), maxEnvelope, &e); err != nil {
		t.Fatal(err)
	}
	for i := range e.Body {
		bad := e
		bad.Body = bytes.Clone(e.Body)
		bad.Body[i] ^= 1
		refuse(t, "body", open, Marshal(bad), errs.Integrity)
	}
	for i := range e.Commitment {
		bad := e
		bad.Commitment[i] ^= 1
		refuse(t, "commitment", open, Marshal(bad), errs.Integrity)
	}
	for _, n := range []int{0, 1, 15, 16, len(e.Body) - 1} {
		bad := e
		bad.Body = e.Body[:n]
		refuse(t, "a body cut off", open, Marshal(bad), errs.Integrity)
	}
}

// Whoever seals could give each class of recipients another key, under which
// the same bytes open as another manifest. The commitment is to one key.
func TestAllRecipientsOpenTheSameManifestOrNone(t *testing.T) {
	a, toA := identity(t, 1)
	b, toB := identity(t, 2)
	one, err := SealManifest(inlined(), []crypt.Recipient{toA})
	if err != nil {
		t.Fatal(err)
	}
	two, err := SealManifest(goldenManifest(), []crypt.Recipient{toB})
	if err != nil {
		t.Fatal(err)
	}
	var e, f envelope
	if err := Unmarshal("envelope", one, maxEnvelope, &e); err != nil {
		t.Fatal(err)
	}
	if err := Unmarshal("envelope", two, maxEnvelope, &f); err != nil {
		t.Fatal(err)
	}
	e.Wraps = append(e.Wraps, f.Wraps[0])
	mixed := Marshal(e)
	if _, err := OpenManifest(mixed, []crypt.Identity{a}); err != nil {
		t.Errorf("the one whose key is committed to: %v", err)
	}
	if _, err := OpenManifest(mixed, []crypt.Identity{b}); errs.KindOf(err) != errs.Integrity {
		t.Errorf("the other: got %v, want Integrity", err)
	}
}

func TestTimesComeBack(t *testing.T) {
	for _, want := range []time.Time{{}, time.Unix(0, 1).UTC(), time.Unix(-5, 0).UTC(), time.Date(2026, 7, 1, 12, 0, 0, 123, time.UTC)} {
		if got := Time(UnixNano(want)); !got.Equal(want) || got.IsZero() != want.IsZero() {
			t.Errorf("%v: got %v", want, got)
		}
	}
	for ns, at := range map[int64]time.Time{1: time.Unix(0, 0), math.MaxInt64: time.Date(2400, 1, 1, 0, 0, 0, 0, time.UTC), math.MinInt64: time.Date(1600, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if got := UnixNano(at); got != ns {
			t.Errorf("%v: got %d, want %d", at, got, ns)
		}
	}
}
