package format

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/errs"
)

// A signature counts for one owner, one mesh, one server and one client, and not
// the other way round.
func TestOwnedIsSignedForTwoPeersOfAMesh(t *testing.T) {
	mesh, server, client := datamesh.MeshID{1}, datamesh.PeerID{2}, datamesh.PeerID{3}
	signature := SignOwned(owner, mesh, server, client)
	key := datamesh.OwnerKey(owner[32:])
	if err := VerifyOwned(key, signature, mesh, server, client); err != nil {
		t.Fatal(err)
	}
	forged := signature
	forged[0]++
	for what, err := range map[string]error{
		"another owner":        VerifyOwned(datamesh.OwnerKey{1}, signature, mesh, server, client),
		"another mesh":         VerifyOwned(key, signature, datamesh.MeshID{9}, server, client),
		"another server":       VerifyOwned(key, signature, mesh, datamesh.PeerID{9}, client),
		"another client":       VerifyOwned(key, signature, mesh, server, datamesh.PeerID{9}),
		"the other direction":  VerifyOwned(key, signature, mesh, client, server),
		"another signature":    VerifyOwned(key, forged, mesh, server, client),
		"no signature":         VerifyOwned(key, [64]byte{}, mesh, server, client),
		"that of a descriptor": VerifyOwned(key, goldenDescriptor(t).Signature, mesh, server, client),
	} {
		if !errors.Is(err, errs.Authentication) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	const want = "ce815d23e2cb9aa76952f9bd569822f4cde96118ae94601edfea2874ccad79ec2bb95c7a24e04710bc7fb83f0a7c09ba5cbea97121384db2c55f604ff0e0a403"
	if got := hex.EncodeToString(signature[:]); got != want {
		t.Errorf("got %s, which is fixed as %s", got, want)
	}
}

// What can be a manifest of somebody is told from sealed content.
func TestLooksSealed(t *testing.T) {
	_, recipient, err := crypt.NewIdentity([32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := SealManifest(&Manifest{Size: 1, Inline: []byte("x")}, []crypt.Recipient{recipient})
	if err != nil {
		t.Fatal(err)
	}
	later := Marshal(map[uint64]any{1: 9, 77: "of a later version"})
	frames := make([]byte, crypt.SealedLen(100))
	if _, err := crypt.Fill(frames, bytes.NewReader(make([]byte, 100)), 100); err != nil {
		t.Fatal(err)
	}
	_, content := crypt.Seal(frames, 100)
	for what, tt := range map[string]struct {
		b    []byte
		want bool
	}{"a manifest": {sealed, true}, "one of a later version": {later, true}, "content": {content, false}, "nothing": {nil, false},
		"too long": {append(Marshal(map[uint64]uint64{1: 1}), make([]byte, MaxSealedManifest)...), false}, "a number": {Marshal(7), false}} {
		if LooksSealed(tt.b) != tt.want {
			t.Errorf("%s: got %v", what, !tt.want)
		}
	}
}
