package catalog

import (
	"bytes"
	"context"
	"database/sql"
	"errors"

	"datamesh"
	"datamesh/internal/errs"
)

// ownerTable was added to the schema when a home could have several identities.
const ownerTable = `
CREATE TABLE IF NOT EXISTS owner (
	one INTEGER PRIMARY KEY CHECK (one = 1),
	key BLOB    NOT NULL -- of whose catalog it is
) STRICT;
`

func (c *Catalog) addOwner(ctx context.Context) error {
	for table, statement := range map[string]string{"owner": ownerTable, "former": formerTables, "rekeyed": rekeyTable, "succession": successionTable} {
		if has, err := c.has(ctx, table); err != nil || has {
			if err != nil {
				return err
			}
			continue
		}
		if _, err := c.db.ExecContext(ctx, statement); err != nil {
			return c.classify(ctx, err)
		}
	}
	return nil
}

// Belong notes whose catalog this is, if it is nobody's yet. Kind: KeyManagement
// (it is another's).
func (c *Catalog) Belong(ctx context.Context, owner datamesh.OwnerKey) error {
	has, err := c.owner(ctx)
	if err == nil && has == nil {
		if _, err := c.db.ExecContext(ctx, `INSERT INTO owner (one, key) VALUES (1, ?) ON CONFLICT DO NOTHING`, owner[:]); err != nil {
			return c.classify(ctx, err)
		}
		has, err = c.owner(ctx)
	}
	if err != nil {
		return err
	}
	return c.mine(has, owner)
}

// OfOther tells whether the catalog is another's, and notes nothing. Kind:
// KeyManagement (it is).
func (c *Catalog) OfOther(ctx context.Context, owner datamesh.OwnerKey) error {
	has, err := c.owner(ctx)
	if err != nil || has == nil {
		return err
	}
	return c.mine(has, owner)
}

func (c *Catalog) mine(has []byte, owner datamesh.OwnerKey) error {
	if bytes.Equal(has, owner[:]) {
		return nil
	}
	if len(has) != len(owner) {
		return c.damaged("its owner makes no sense")
	}
	return errs.WithHint(errs.New(errs.KeyManagement, "the catalog %s is of another identity, %v, than %v", c.path, datamesh.OwnerKey(has), owner),
		"bring that identity back, or give this one a home or a name of its own: datamesh keys new NAME")
}

// owner returns whose catalog it is, or nil if that is not known.
func (c *Catalog) owner(ctx context.Context) (key []byte, err error) {
	if known := c.owns.Load(); known != nil {
		return *known, nil
	}
	if has, err := c.has(ctx, "owner"); err != nil || !has {
		return nil, err
	}
	err = c.row(ctx, `SELECT key FROM owner`).Scan(&key)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err == nil {
		c.owns.Store(&key)
	}
	return key, c.classify(ctx, err)
}
