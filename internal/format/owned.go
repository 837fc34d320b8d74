package format

import (
	"crypto/ed25519"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/hash"
)

const ownedContext = "datamesh v1 an owner asks a peer for his segments"

func ownedDigest(mesh datamesh.MeshID, server, client datamesh.PeerID) [32]byte {
	return hash.Derive(ownedContext, mesh[:], server[:], client[:])
}

// SignOwned returns an owner's signature by which one peer of a mesh, the
// client, may ask another, the server, for his segments. It is of no use to any
// other two, nor in the other direction.
func SignOwned(owner ed25519.PrivateKey, mesh datamesh.MeshID, server, client datamesh.PeerID) [ed25519.SignatureSize]byte {
	digest := ownedDigest(mesh, server, client)
	return [ed25519.SignatureSize]byte(ed25519.Sign(owner, digest[:]))
}

// VerifyOwned reports with an error of kind Authentication that an owner has not
// signed that the client may ask the server for his segments.
func VerifyOwned(owner datamesh.OwnerKey, signature [ed25519.SignatureSize]byte, mesh datamesh.MeshID, server, client datamesh.PeerID) error {
	digest := ownedDigest(mesh, server, client)
	if !ed25519.Verify(owner[:], digest[:], signature[:]) {
		return errs.New(errs.Authentication, "the segments of %s are listed for that owner alone: %s does not ask for him", owner, client)
	}
	return nil
}

// MaxSealedManifest is how many bytes a sealed manifest has at most: what is
// longer is none.
const MaxSealedManifest = maxEnvelope

// LooksSealed reports whether bytes have the form of a sealed manifest, of
// whatever version, whoever can open it. Content in sealed frames has not.
func LooksSealed(b []byte) bool {
	_, ok := versionIn(b)
	return ok && len(b) <= maxEnvelope
}
