package catalog

import (
	"path/filepath"
	"testing"

	"datamesh"
	"datamesh/internal/errs"
)

func TestACatalogIsOfWhoeverHadItFirst(t *testing.T) {
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "user.db")
	c, err := Open(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	first, other := datamesh.OwnerKey{1}, datamesh.OwnerKey{2}
	for _, owner := range []datamesh.OwnerKey{first, other} {
		if err := c.OfOther(ctx, owner); err != nil {
			t.Errorf("one that is nobody's: %v", err)
		}
	}
	if err := c.Belong(ctx, first); err != nil {
		t.Fatal(err)
	}
	again, err := Open(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	toRead, err := OpenToRead(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	defer toRead.Close()
	for what, c := range map[string]*Catalog{"the same": c, "opened again": again} {
		if err := c.Belong(ctx, first); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if err := c.Belong(ctx, other); errs.KindOf(err) != errs.KeyManagement || errs.HintFor(err) == "" {
			t.Errorf("%s, of another: %v", what, err)
		}
	}
	if err := toRead.OfOther(ctx, first); err != nil {
		t.Errorf("read: %v", err)
	}
	if err := toRead.OfOther(ctx, other); errs.KindOf(err) != errs.KeyManagement {
		t.Errorf("read, of another: %v", err)
	}
}

// A catalog that was written before there were owners is nobody's yet.
func TestACatalogOfBeforeGetsAnOwner(t *testing.T) {
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "user.db")
	c, err := Open(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.db.ExecContext(ctx, `DROP TABLE owner`); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	toRead, err := OpenToRead(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	if err := toRead.OfOther(ctx, datamesh.OwnerKey{1}); err != nil {
		t.Error(err)
	}
	if err := toRead.Close(); err != nil {
		t.Fatal(err)
	}
	if c, err = Open(ctx, path); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Belong(ctx, datamesh.OwnerKey{1}); err != nil {
		t.Error(err)
	}
	if err := c.Belong(ctx, datamesh.OwnerKey{2}); errs.KindOf(err) != errs.KeyManagement {
		t.Errorf("another: %v", err)
	}
}
