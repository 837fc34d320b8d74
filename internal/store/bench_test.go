package store

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"datamesh"
	"datamesh/internal/format"
	"datamesh/internal/hash"
	"datamesh/internal/storetest"
)

// BenchmarkPut puts distinct shards, so many in flight at once. A row costs a
// sync for each commit, a file one more, and one for its folder.
func BenchmarkPut(b *testing.B) {
	for _, c := range []struct {
		name     string
		size     int
		inFlight int
	}{
		{"4KiBx1", 4 << 10, 1},
		{"4KiBx64", 4 << 10, 64},
		{"4MiBx1", 4 << 20, 1},
		{"4MiBx8", 4 << 20, 8},
	} {
		b.Run(c.name, func(b *testing.B) {
			var commits atomic.Int64
			d := openDisk(b, b.TempDir(), Options{
				Events: Events{Committed: func(int) { commits.Add(1) }}})
			samples := distinct(b, b.N, c.size)
			b.SetBytes(int64(c.size))
			b.ResetTimer()
			inParallel(c.inFlight, b.N, func(i int) {
				if err := d.Put(b.Context(), samples[i].Descriptor, 0, samples[i].shard); err != nil {
					b.Error(err)
				}
			})
			b.ReportMetric(float64(commits.Load())/float64(b.N), "commits/op")
		})
	}
}

func BenchmarkGet(b *testing.B) {
	for _, c := range []struct {
		name string
		size int
	}{{"4KiB", 4 << 10}, {"64KiB", 64 << 10}, {"4MiB", 4 << 20}} {
		s := storetest.Segment(b, 1, 1, 0, c.size)
		d := openDisk(b, b.TempDir(), Options{})
		s.Put(b, d, 0)
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(c.size))
			buf := make([]byte, c.size)
			for b.Loop() {
				if _, _, err := d.Get(b.Context(), s.Key(0), buf); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.name+"/range16KiB", func(b *testing.B) {
			n := min(c.size, hash.Group)
			b.SetBytes(int64(n))
			for b.Loop() {
				if _, _, err := d.GetRange(b.Context(), s.Key(0), c.size-n, n); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A single is a segment of one shard.
type single struct {
	*datamesh.Descriptor
	shard []byte
}

// distinct makes n segments of one shard each. All shards share one array, and
// differ in where they lie in it.
func distinct(b *testing.B, n, size int) []single {
	owner := storetest.Segment(b, 1, 1, 0, 1).Owner
	base := storetest.Segment(b, 2, 1, 0, 4<<20).Bytes[0]
	base = append(base, base...)[:min(8<<20, size+4<<10)]
	samples := make([]single, n)
	for i := range samples {
		length := size - i/(4<<10) // lengths differ where places are used up
		shard := base[i%(4<<10):][:length]
		desc, err := format.NewDescriptor(owner, 1, 0, length, []datamesh.ShardID{hash.Shard(shard)})
		if err != nil {
			b.Fatal(err)
		}
		samples[i] = single{desc, shard}
	}
	return samples
}

// inParallel calls do for each i below n, so many at a time.
func inParallel(workers, n int, do func(i int)) {
	next := make(chan int)
	done := make(chan struct{})
	for range workers {
		go func() {
			defer func() { done <- struct{}{} }()
			for i := range next {
				do(i)
			}
		}()
	}
	for i := range n {
		next <- i
	}
	close(next)
	for range workers {
		<-done
	}
}

// BenchmarkOpen opens a store of that many shards.
func BenchmarkOpen(b *testing.B) {
	for _, c := range []struct {
		name         string
		rows, folder int // folder: how many files in each
	}{{"empty", 0, 0}, {"100kFiles", 0, 400}, {"100kRows", 100_000, 0}} {
		b.Run(c.name, func(b *testing.B) {
			dir := b.TempDir()
			d := openDisk(b, dir, Options{})
			fill(b, d, c.rows, c.folder)
			closeDisk(b, d)
			for b.Loop() {
				closeDisk(b, openDisk(b, dir, Options{}))
			}
		})
	}
}

// fill enters rows without bytes and files without content: Open looks at
// neither.
func fill(b *testing.B, d *Disk, rows, filesPerFolder int) {
	err := d.commit(func(batch *batch) error {
		for i := range rows {
			key := datamesh.ShardKey{Segment: hash.Derive("bench", binary.BigEndian.AppendUint32(nil, uint32(i)))}
			batch.insertShard(key, 1, batch.insertPayload([]byte{0}))
		}
		for first := range 256 {
			for i := range filesPerFolder {
				key := datamesh.ShardKey{Segment: datamesh.SegmentID{byte(first), byte(i), byte(i >> 8)}}
				if err := os.WriteFile(d.path(key), nil, 0o600); err != nil {
					return err
				}
				batch.insertShard(key, 1, nil)
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

// BenchmarkSmallObject does in one store what a put of a small object does in each: it
// puts a shard, and reports who holds the six of its segment. 64 are in flight.
func BenchmarkSmallObject(b *testing.B) {
	var peers []datamesh.PeerID
	for i := range byte(10) {
		peers = append(peers, peer(i+1))
	}
	owner := storetest.Segment(b, 1, 1, 0, 1).Owner
	samples := make([]single, b.N)
	for i := range samples {
		shard := binary.BigEndian.AppendUint64(make([]byte, 1492), uint64(i))
		ids := []datamesh.ShardID{hash.Shard(shard), {1}, {2}, {3}, {4}, {5}}
		desc, err := format.NewDescriptor(owner, 4, 2, 6000, ids)
		if err != nil {
			b.Fatal(err)
		}
		samples[i] = single{desc, shard}
	}
	dir := b.TempDir()
	d := openDisk(b, dir, Options{})
	before := onDisk(b, dir)
	b.ResetTimer()
	inParallel(64, b.N, func(i int) {
		s := samples[i]
		if err := d.Put(b.Context(), s.Descriptor, 0, s.shard); err != nil {
			b.Error(err)
		}
		var holdings []Holding
		for j := range s.Shards {
			holdings = append(holdings, Holding{j, peers[(i+j)%len(peers)]})
		}
		if err := d.Report(b.Context(), []Report{{Descriptor: s.Descriptor, Holdings: holdings}}); err != nil {
			b.Error(err)
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(onDisk(b, dir)-before)/float64(b.N), "disk-B/op")
}

// onDisk is how many bytes the files of a store have.
func onDisk(b *testing.B, dir string) (n int64) {
	files, err := filepath.Glob(filepath.Join(dir, "node.*"))
	if err != nil {
		b.Fatal(err)
	}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			b.Fatal(err)
		}
		n += info.Size()
	}
	return n
}
