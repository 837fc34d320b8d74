package store

import (
	"testing"

	"datamesh"
	"datamesh/internal/storetest"
)

const capacity = 128 << 20

func TestMemoryConforms(t *testing.T) {
	storetest.Run(t, func(*testing.T) datamesh.ShardStore { return NewMemory(capacity) })
}

func TestVerifyConforms(t *testing.T) {
	storetest.Run(t, func(*testing.T) datamesh.ShardStore { return Verify(NewMemory(capacity)) })
}

func TestDiskConforms(t *testing.T) {
	storetest.Run(t, func(t *testing.T) datamesh.ShardStore { return openDisk(t, t.TempDir(), Options{}) })
}
