package keyring

import "datamesh/internal/hash"

// The contexts of the keys of backups.
const (
	cutsContext   = "datamesh v1 where content is cut into chunks"
	chunksContext = "datamesh v1 ids of chunks"
)

// Chunks returns the keys of the user's backups: of the table by which content is
// cut into chunks, and of the ids of these. Without them nobody can tell by
// lengths or ids what is stored.
func (r *Ring) Chunks() (cuts, ids [32]byte) {
	return hash.Derive(cutsContext, r.Catalog[:]), hash.Derive(chunksContext, r.Catalog[:])
}
