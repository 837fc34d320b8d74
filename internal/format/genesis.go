package format

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
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

// NewGenesis returns the genesis of a new open mesh. Kind: Invalid, for a name
// that is too long.
func NewGenesis(name string) (*Genesis, error) {
	g := &Genesis{Version: Version, Name: name}
	rand.Read(g.Random[:]) // never fails
	if err := g.check(); err != nil {
		return nil, errs.New(errs.Invalid, "genesis: %w", err)
	}
	return g, nil
}

func (g *Genesis) check() error {
	if len(g.Name) > maxMeshName || !utf8.ValidString(g.Name) {
		return fmt.Errorf("a name of at most %d bytes of valid UTF-8, not %.80q", maxMeshName, g.Name)
	}
	if len(g.Founders) > maxFounders {
		return fmt.Errorf("%d founders, limit %d", len(g.Founders), maxFounders)
	}
	return nil
}

// Encode returns the bytes of the genesis.
func (g *Genesis) Encode() []byte { return Marshal(g) }

// MeshID returns the name of the mesh.
func (g *Genesis) MeshID() datamesh.MeshID { return hash.Derive(genesisContext, g.Encode()) }

// DecodeGenesis reads a genesis. Kind: Serialization.
func DecodeGenesis(b []byte) (*Genesis, error) {
	g := new(Genesis)
	if err := unmarshalVersion("genesis", b, MaxGenesis, g); err != nil {
		return nil, err
	}
	if err := g.check(); err != nil {
		return nil, errs.New(errs.Serialization, "genesis: %w", err)
	}
	return g, nil
}
