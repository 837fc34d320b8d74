package catalog_test

import (
	"path/filepath"
	"testing"

	"datamesh/internal/catalog"
	"datamesh/internal/errs"
	"datamesh/internal/storetest"
)

func TestFullDiskIsFull(t *testing.T) {
	disk := storetest.SmallDisk(t)
	path := filepath.Join(disk, "user.db")
	c, err := catalog.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	storetest.FillDisk(disk)
	for _, path := range []string{path, filepath.Join(disk, "new.db")} {
		c, err := catalog.Open(t.Context(), path)
		if err == nil {
			err = c.Add(t.Context(), entry(1, "photo.jpg"))
			c.Close()
		}
		if kind := errs.KindOf(err); kind != errs.Full {
			t.Errorf("%s: got %v, of kind %s, want kind Full", filepath.Base(path), err, kind.Name())
		}
	}
}
