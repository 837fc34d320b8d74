package node

import (
	"context"
	"errors"
	"fmt"

	"datamesh/internal/errs"
	"datamesh/internal/keyring"
)

// Recover brings back, into a home that has no other identity, the identity of a
// root and the catalog that its devices have kept in the mesh. The identity is
// written only when the mesh is known to have something of it. Kinds:
// KeyManagement (the mesh has nothing of this owner), Exists (the home has another identity),
// Unavailable (there is no mesh, or too few answer: nothing is changed that was known before), and those
// of the catalog.
func (n *Node) Recover(ctx context.Context, root keyring.Root) (*Recovered, error) {
	keys, err := keyring.New(root)
	if err != nil {
		return nil, err
	}
	if have, err := n.secrets.OwnerKey(); err == nil && have != keys.OwnerKey() {
		return nil, errs.WithHint(errs.New(errs.Exists, "this home has another identity already: %s", n.secrets.Path),
			"recover into a fresh home: datamesh --home DIR recover")
	} else if err != nil && !errors.Is(err, errs.FileNotFound) {
		return nil, err
	}
	if err := n.catalog.OfOther(ctx, keys.OwnerKey()); err != nil {
		return nil, err
	}
	l, err := n.connect(ctx)
	if err != nil {
		return nil, err
	}
	if l.net == nil {
		return nil, errNoMesh()
	}
	found, err := l.objects.Records(ctx, keys.OwnerKey())
	if err != nil {
		return nil, err
	}
	if len(found.Records) == 0 {
		return nil, errs.WithHint(errs.New(errs.KeyManagement, "the mesh has no catalog of the owner of these words, %s; %d of the %d peers that would keep it were asked",
			keys.OwnerKey(), found.Answered, found.Registrars),
			"see whether these are the right words, and this the right mesh: datamesh peers")
	}
	if err := n.secrets.Restore(root); err != nil {
		return nil, err
	}
	if _, err := n.heldKeys(); err != nil {
		return nil, err
	}
	learned, err := n.learnFound(ctx, l, keys, found)
	if err != nil {
		return nil, errs.WithHint(fmt.Errorf("a part of the catalog could not be read: %w", err),
			"the identity and the rest of the list are back; type it again for that part: datamesh recover")
	}
	s, err := n.catalog.Stats(ctx)
	if err != nil {
		return nil, err
	}
	return &Recovered{Owner: keys.OwnerKey(), Objects: s.Objects, Bytes: s.Bytes, Devices: learned.Devices,
		Answered: learned.Answered, Asked: learned.Asked, Missing: learned.Missing}, nil
}

// MayRecover finds out, without a network, whether there is a mesh that a recovery
// could ask. Kinds: Unavailable (there is none), IO, Configuration.
func MayRecover(o Options) error {
	m, err := loadMemory(o.Home)
	if err == nil && m.genesis == nil && len(o.Bootstrap)+len(o.Config.Doors()) == 0 {
		err = errNoMesh()
	}
	return err
}

func errNoMesh() error {
	return errs.WithHint(errs.New(errs.Unavailable, "this home knows no mesh, from which a catalog could come back"),
		"name one of its members: datamesh --bootstrap-peer PEER_ID --bootstrap-addr ADDR recover")
}
