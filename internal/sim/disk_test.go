package sim

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/repair"
	"datamesh/internal/store"
	"datamesh/internal/storetest"

	"github.com/google/go-cmp/cmp"
)

func TestDiskConforms(t *testing.T) {
	storetest.Run(t, func(*testing.T) datamesh.ShardStore { return NewDisk(64 << 20) })
}

type index interface {
	datamesh.ShardStore
	repair.Index
}

// records makes some records of a few owners and devices, some of one number.
func records(t *testing.T, random *rand.Rand) (list []*datamesh.Record) {
	t.Helper()
	for i := range 40 {
		seed := make([]byte, ed25519.SeedSize)
		seed[0] = byte(random.IntN(2))
		seq := 1 + random.Uint64N(12)
		r, err := format.NewRecord(ed25519.NewKeyFromSeed(seed), datamesh.MeshID{1}, [16]byte{byte(random.IntN(2))}, seq, random.Uint64N(seq), []byte{byte(i)})
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	for i := range store.MaxRecordDevices { // more devices than may be
		r, err := format.NewRecord(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), datamesh.MeshID{1}, [16]byte{2, byte(i)}, 1, 0, []byte{1})
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	return list
}

// A disk of the simulation answers as a real one does, whatever is done to
// both.
func TestDiskIsLikeARealOne(t *testing.T) {
	for seed := range uint64(4) {
		random := rand.New(rand.NewPCG(seed, 0))
		genuine, err := store.Open(t.TempDir(), store.Options{Capacity: 64 << 20, Reserve: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer genuine.Close()
		disk := NewDisk(64 << 20)
		var samples []*storetest.Sample
		for i := range 6 {
			samples = append(samples, storetest.Segment(t, uint64(i), 2, 1, 32))
		}
		logged := records(t, random)
		some := func() *storetest.Sample { return samples[random.IntN(len(samples))] }
		peer := func() datamesh.PeerID { return datamesh.PeerID{1, byte(random.IntN(7))} }
		ctx := t.Context()
		for step := range 300 {
			both := func(what string, do func(index) (any, error)) {
				t.Helper()
				got, gotErr := do(disk)
				want, wantErr := do(genuine)
				if diff := cmp.Diff(want, got); diff != "" || errs.KindOf(gotErr) != errs.KindOf(wantErr) {
					t.Fatalf("seed %d, step %d: %s: %v, want %v\n%s", seed, step, what, gotErr, wantErr, diff)
				}
			}
			s, key, who := some(), datamesh.ShardKey{}, peer()
			key = s.Key(random.IntN(3))
			switch random.IntN(20) {
			case 0, 1, 2, 3:
				both("put", func(x index) (any, error) { return nil, x.Put(ctx, s.Descriptor, key.Index, s.Bytes[key.Index]) })
			case 4, 5:
				both("remove", func(x index) (any, error) { return nil, x.Remove(ctx, key) })
			case 6, 7, 8, 9, 10, 11:
				reports := []store.Report{{Descriptor: s.Descriptor, Holdings: []store.Holding{{Index: key.Index, Peer: who}, {Index: random.IntN(3), Peer: peer()}}},
					{Descriptor: some().Descriptor}}
				both("report", func(x index) (any, error) { return nil, x.Report(ctx, reports) })
			case 12, 13, 14, 15, 16:
				var keys []datamesh.ShardKey
				after, upto := key, some().Key(2)
				for _, s := range samples {
					for _, k := range s.Keys() {
						if k.Compare(after) > 0 && k.Compare(upto) <= 0 && random.IntN(2) == 0 {
							keys = append(keys, k)
						}
					}
				}
				slices.SortFunc(keys, datamesh.ShardKey.Compare)
				both("correct", func(x index) (any, error) {
					unknown, deleted, err := x.Correct(ctx, who, after, upto, keys)
					return fmt.Sprint(unknown, len(deleted)), err
				})
			case 17, 18:
				both("forget", func(x index) (any, error) { return nil, x.Forget(ctx, []datamesh.SegmentID{s.Segment}) })
			default:
				if random.IntN(10) == 0 {
					word := s.Deletion(uint64(step))
					both("drop", func(x index) (any, error) { return nil, x.Drop(ctx, word) })
					both("forget words", func(x index) (any, error) { return nil, x.ForgetWords(ctx, []*datamesh.Deletion{word}) })
				}
			}
			limit := 1 + random.IntN(8)
			record := logged[random.IntN(len(logged))]
			switch name := format.RecordKey(record); random.IntN(4) {
			case 0:
				both("put record", func(x index) (any, error) { return nil, x.PutRecord(ctx, record) })
			case 1:
				both("has records", func(x index) (any, error) { return x.HasRecords(ctx, []datamesh.RecordKey{name, {}}) })
				both("record", func(x index) (any, error) { return x.Record(ctx, name) })
			case 2:
				both("record keys", func(x index) (any, error) { return x.RecordKeys(ctx, name, limit) })
			default:
				if random.IntN(4) == 0 {
					both("forget records", func(x index) (any, error) { return nil, x.ForgetRecords(ctx, []datamesh.RecordKey{name}) })
				}
			}
			both("track", func(x index) (any, error) { return x.Track(ctx, key.Segment, limit) })
			both("owned", func(x index) (any, error) {
				list, last, more, err := x.Owned(ctx, s.Descriptor.Owner, key.Segment, limit)
				return fmt.Sprint(list, last, more), err
			})
			both("words", func(x index) (any, error) { list, err := x.Words(ctx, key.Segment, limit); return list, err })
			both("held", func(x index) (any, error) { return x.Held(ctx, key, limit) })
			both("reported", func(x index) (any, error) { return x.Reported(ctx, who, key, limit) })
			both("has", func(x index) (any, error) { return x.Has(ctx, s.Keys()) })
			both("list", func(x index) (any, error) { list, err := x.List(ctx, key, limit); return fmt.Sprint(list), err })
			both("locate", func(x index) (any, error) {
				_, holdings, err := x.Locate(ctx, s.Segment)
				if errors.Is(err, errs.FileNotFound) {
					return "not found", nil
				}
				return holdings, err
			})
		}
	}
}
