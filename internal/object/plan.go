package object

import (
	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/format"
	"datamesh/internal/placement"
	"datamesh/internal/ring"
)

// What a manifest has besides content and references, and for each of these:
// near enough for a plan.
const (
	manifestLen = 2000
	refLen      = 100
)

// Plan says what a put of n bytes would come to if all members took what they
// are asked to, and stores nothing. Its StoredBytes are an estimate.
func (o *Objects) Plan(n int64, k, m int) PutResult {
	live := 0
	for x := range o.net.View().All() {
		if x.State != ring.Dead {
			live++
		}
	}
	r := PutResult{Size: n, Survives: datamesh.MaxShards}
	add := func(sealed int) {
		data := k
		if sealed <= smallSealed {
			data = 1
		}
		r.Segments++
		r.Shards += data + m
		r.StoredBytes += int64(data+m) * int64(datamesh.ShardLen(sealed, data))
		r.Survives = min(r.Survives, placement.BestSurvives(live, data, m))
	}
	manifest := manifestLen
	if n <= format.MaxInline {
		manifest += int(n)
	} else {
		length := int64(o.segmentLen(k, m))
		for at := int64(0); at < n; at += length {
			add(crypt.SealedLen(int(min(length, n-at))))
			manifest += refLen
		}
	}
	add(manifest)
	r.Peers = min(live, r.Shards, k+m)
	return r
}
