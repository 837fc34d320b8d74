package node

import (
	"slices"
	"testing"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/keyring"
	"datamesh/internal/object"
	"datamesh/internal/ring"

	"github.com/google/go-cmp/cmp"
)

// objects returns what the node stores by, and the mesh that it is of.
func (r *running) objects() (*link, datamesh.MeshID) {
	r.t.Helper()
	l, err := r.connect(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	var mesh datamesh.MeshID
	for m := range l.view().All() {
		if m.State != ring.Dead {
			mesh = m.Record.Mesh
		}
	}
	return l, mesh
}

func (r *running) wantRecords(what string, owner datamesh.OwnerKey, answered int, want ...*datamesh.Record) {
	r.t.Helper()
	l, _ := r.objects()
	var found object.Found
	var err error
	all := soon(func() bool {
		found, err = l.objects.Records(r.t.Context(), owner)
		return err == nil && found.Answered == answered
	})
	if diff := cmp.Diff(want, found.Records); !all || diff != "" {
		r.t.Errorf("%s: %d of %d answered, want %d, %v; -want +got:\n%s", what, found.Answered, found.Registrars, answered, err, diff)
	}
}

// ordered returns records in the order of their keys.
func ordered(list []*datamesh.Record) []*datamesh.Record {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b *datamesh.Record) int { return format.RecordKey(a).Compare(format.RecordKey(b)) })
	return list
}

// An owner's records go over real connections to real disks, and are there after
// all has been restarted, for whoever knows the owner's key and no more.
func TestRecordsAreKeptByTheNodesOfAMesh(t *testing.T) {
	first := bootstrap(t, home(t))
	second := open(t, through(t, home(t), Storage, first))
	first.sees(1)
	second.sees(1)
	client := open(t, through(t, home(t), Client, first))
	l, mesh := client.objects()
	keys, err := keyring.New(keyring.Root{1})
	if err != nil {
		t.Fatal(err)
	}
	var want []*datamesh.Record
	for seq := range uint64(20) { // more than one answer has room for
		r, err := format.NewRecord(keys.Owner, mesh, [16]byte{1}, seq+1, 0, make([]byte, datamesh.MaxRecordPayload))
		if err != nil {
			t.Fatal(err)
		}
		client.insist(func() error { return l.objects.PutRecord(t.Context(), r) })
		want = append(want, r)
	}
	other, err := format.NewRecord(keys.Owner, mesh, [16]byte{1}, 20, 0, []byte("another of that number"))
	if err != nil {
		t.Fatal(err)
	}
	wantKind(t, "the second of one number", l.objects.PutRecord(t.Context(), other), errs.Exists)
	last, err := format.NewRecord(keys.Owner, mesh, [16]byte{1}, 21, 20, []byte("both are superseded"))
	if err != nil {
		t.Fatal(err)
	}
	client.wantRecords("two of one number", want[0].Owner, 2, ordered(append(want, other))...)
	for what, n := range map[string]*running{"by the first": first, "by the second": second} {
		n.wantRecords(what, want[0].Owner, 2, ordered(append(want, other))...)
	}
	client.insist(func() error { return l.objects.PutRecord(t.Context(), last) })
	client.end()
	second.end()
	first.end()
	first = open(t, options(first.home, Storage))
	second = open(t, options(second.home, Storage))
	first.sees(1)
	second.sees(1)
	first.wantRecords("after a restart", want[0].Owner, 2, last)
}

// A home without a mesh keeps its own.
func TestHomeWithoutAMeshKeepsRecords(t *testing.T) {
	n := open(t, options(home(t), Client))
	l, mesh := n.objects()
	keys, err := keyring.New(keyring.Root{1})
	if err != nil {
		t.Fatal(err)
	}
	r, err := format.NewRecord(keys.Owner, mesh, [16]byte{1}, 1, 0, []byte("alone"))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.objects.PutRecord(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	n.wantRecords("alone", r.Owner, 1, r)
}
