// Package storetest is the conformance suite of ShardStores, with what tests
// of them need: segments to put, and a store that goes wrong on purpose.
package storetest

import (
	"errors"
	"testing"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/hash"
)

// Run checks that a store keeps the contract of [datamesh.ShardStore]. Open
// returns an empty store with room for 64 MiB, and cleans up after the test.
func Run(t *testing.T, open func(t *testing.T) datamesh.ShardStore) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, datamesh.ShardStore)
	}{
		{"GetReturnsWhatWasPut", getReturnsWhatWasPut},
		{"GetUsesTheBuffer", getUsesTheBuffer},
		{"GetOfWhatIsNotThere", getOfWhatIsNotThere},
		{"PutKeepsNoHoldOfTheSlice", putKeepsNoHold},
		{"PutTwiceIsNoError", putTwice},
		{"PutRefusesWhatIsWrong", putRefusesWhatIsWrong},
		{"PutRefusesAForgedDescriptor", putRefusesAForgedDescriptor},
		{"EqualShardsAreKeptByIndex", equalShards},
		{"RangesProveThemselves", ranges},
		{"RangeOutsideTheShard", rangeOutside},
		{"HasAnswersEachKey", has},
		{"ListPagesInOrder", list},
		{"DropRemovesAndForbids", drop},
		{"DropOfWhatIsNotThere", dropOfNothing},
		{"DropNeedsTheOwner", dropNeedsTheOwner},
		{"DropBesidePutLeavesNothing", dropBesidePut},
		{"DropAndBack", dropAndBack},
		{"ManyAtOnce", manyAtOnce},
		{"DoneContext", doneContext},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

// sizes are those of sealed segments of 2 data shards: one byte, around a
// group, and around what a store may treat as small.
var sizes = []int{1, 2, 3, 2 * 1024, 2*hash.Group - 1, 2 * hash.Group, 2*hash.Group + 1,
	2 * (64 << 10), 2*(64<<10) + 1, 2 << 20}

func wantKind(t *testing.T, what string, err error, want errs.Kind) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got %v, want kind %s", what, err, want.Name())
	}
}
