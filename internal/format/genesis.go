package format

import (
	"crypto/ed25519"
	"crypto/rand"
	"unicode/utf8"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/hash"
)

// MaxGenesis is the limit of an encoded genesis in bytes.
const MaxGenesis = 4 << 10

const (
	genesisContext = "datamesh v1 mesh genesis"
	maxMeshName    = 64 // bytes
	maxFounders    = 16
)

// A Genesis is what makes a mesh that mesh and no other: its hash is the
// MeshID. An open mesh has no founders.
type Genesis struct {
	Version  uint64                        `cbor:"1,keyasint"`
	Random   [32]byte                      `cbor:"2,keyasint"`
	Name     string                        `cbor:"3,keyasint,omitempty"`
	Founders [][ed25519.PublicKeySize]byte `cbor:"4,keyasint,omitempty"` // of a closed mesh
}

// NewGenesis returns the genesis of a new open mesh.
func NewGenesis(name string) *Genesis {
	g := &Genesis{Version: Version, Name: name}
	rand.Read(g.Random[:]) // never fails
	return g
}

// Encode returns the bytes of the genesis.
func (g *Genesis) Encode() []byte { return Marshal(g) }

// MeshID returns the name of the mesh.
func (g *Genesis) MeshID() datamesh.MeshID { return hash.Derive(genesisContext, g.Encode()) }

// DecodeGenesis reads a genesis. Kind: Serialization.
func DecodeGenesis(b []byte) (*Genesis, error) {
	g := new(Genesis)
	if err := Unmarshal("genesis", b, MaxGenesis, g); err != nil {
		return nil, err
	}
	if err := checkVersion("genesis", g.Version); err != nil {
		return nil, err
	}
	if len(g.Name) > maxMeshName || !utf8.ValidString(g.Name) || len(g.Founders) > maxFounders {
		return nil, errs.New(errs.Serialization, "genesis: a name of %d bytes, %d founders", len(g.Name), len(g.Founders))
	}
	return g, nil
}
