package node

import (
	"bytes"
	"path/filepath"
	"testing"

	"datamesh/internal/config"
	"datamesh/internal/errs"
	"datamesh/internal/storetest"
)

func TestPutOnAFullDiskIsFull(t *testing.T) {
	disk := storetest.SmallDisk(t)
	put := func(h config.Home) error {
		o := options(h, Client)
		o.Config.Store.Capacity, o.Config.Store.Reserve = 16<<20, 4<<20
		n, err := Open(t.Context(), o)
		if err != nil {
			return err
		}
		_, err = n.Put(t.Context(), bytes.NewReader(noise(1, 100_000)), PutOptions{})
		if e := n.Close(t.Context()); e != nil {
			t.Errorf("close: %v", e)
		}
		return err
	}
	old, fresh := config.Home(filepath.Join(disk, "old")), config.Home(filepath.Join(disk, "new"))
	if err := put(old); err != nil {
		t.Fatal(err)
	}
	storetest.FillDisk(disk)
	for _, h := range []config.Home{old, fresh} {
		wantKind(t, "put from "+string(h), put(h), errs.Full)
	}
}
