package transfer

import (
	"encoding/binary"
	"maps"
	"sync"

	"datamesh"
	"datamesh/internal/format"
	"datamesh/internal/hash"
)

// knownRecords are the records that peers had when they were asked last, so that
// they need not send them again. Nobody changes those.
type knownRecords struct {
	mu sync.Mutex
	of map[recordsAt]recordSet
}

// recordsAt are the records of an owner that a peer keeps.
type recordsAt struct {
	peer  datamesh.PeerID
	owner datamesh.OwnerKey
}

type recordSet struct {
	digest [32]byte
	list   []*datamesh.Record
}

// maxKnown is of how many peers and owners records are known: a node has one
// owner, whose records some more than a dozen keep.
const maxKnown = 32

func (k *knownRecords) get(at recordsAt) (recordSet, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	set, ok := k.of[at]
	return set, ok
}

// put notes which records a peer has. What several have is in memory once.
func (k *knownRecords) put(at recordsAt, list []*datamesh.Record) {
	set := recordSet{digestOf(list), list}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.of == nil {
		k.of = map[recordsAt]recordSet{}
	}
	for _, other := range k.of {
		if other.digest == set.digest {
			set.list = other.list
		}
	}
	k.of[at] = set
	for old := range maps.Keys(k.of) {
		if len(k.of) > maxKnown && old != at {
			delete(k.of, old)
		}
	}
}

// digestOf stands for the records of an owner that a peer keeps.
func digestOf(list []*datamesh.Record) [32]byte {
	var names []byte
	for _, r := range list {
		key := format.RecordKey(r)
		names = append(names, key.Device[:]...)
		names = binary.BigEndian.AppendUint64(names, key.Seq)
		names = append(names, key.Digest[:]...)
	}
	return hash.Derive("datamesh v1 records of an owner", names)
}
