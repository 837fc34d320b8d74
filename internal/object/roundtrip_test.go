package object

import (
	"bytes"
	"fmt"
	"testing"
	"testing/synctest"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
)

func TestEverySizeComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUser(t, newWorld(t, 6))
		for _, n := range []int{0, 1, 15, 16, 17, 4<<10 - 1, 4 << 10, 4<<10 + 1, 64<<10 - 1, 64 << 10, 64<<10 + 1,
			16<<20 - 1, 16 << 20, 16<<20 + 1} {
			content := noise(1, n)
			result := u.put(content, options)
			if result.Size != int64(n) || result.Survives != 2 || result.Missing != 0 || result.Peers != 6 && n > 4<<10 {
				t.Errorf("%d bytes: %+v", n, result)
			}
			if bad := u.get(result.ID, content); len(bad) > 0 {
				t.Errorf("%d bytes: bad %v", n, bad)
			}
		}
	})
}

func TestEveryCodeComesBack(t *testing.T) {
	u := newUser(t, newWorld(t, 6))
	for _, code := range [][2]int{{1, 0}, {1, 5}, {2, 1}, {4, 4}, {3, 0}, {10, 4}, {1, 30}, {60, 40}} {
		opt := PutOptions{K: code[0], M: code[1], MinSurvives: 0}
		content := noise(2, 300_000)
		result := u.put(content, opt)
		if bad := u.get(result.ID, content); len(bad) > 0 {
			t.Errorf("%d+%d: bad %v", code[0], code[1], bad)
		}
	}
	for _, code := range [][2]int{{0, 2}, {-1, 2}, {4, -1}, {200, 57}} {
		_, err := u.Put(t.Context(), bytes.NewReader(noise(2, 300_000)), PutOptions{K: code[0], M: code[1]}, commit)
		wantKind(t, fmt.Sprintf("%d+%d", code[0], code[1]), err, errs.Invalid)
	}
}

func TestSegmentsWithMuchParityAreSmaller(t *testing.T) {
	u := newUser(t, newWorld(t, 1))
	for code, want := range map[[2]int]int{{4, 2}: datamesh.MaxContent, {4, 4}: datamesh.MaxContent, {1, 9}: datamesh.MaxContent / 8, {1, 255}: 128 << 10} {
		n := u.segmentLen(code[0], code[1])
		if n != want {
			t.Errorf("%d+%d: %d bytes, want %d", code[0], code[1], n, want)
		}
		if size := bufferLen(n, code[0], code[1]); size > maxMemory/inFlight {
			t.Errorf("%d+%d: a buffer of %d bytes", code[0], code[1], size)
		}
	}
}

func TestManifestTellsAllAboutTheObject(t *testing.T) {
	u := newUser(t, newWorld(t, 6))
	opt := options
	opt.Name, opt.Tags, opt.Mode = "photo.jpg", []string{"a", "b"}, 0o640
	for _, n := range []int{10, 200_000} {
		result := u.put(noise(3, n), opt)
		m, err := u.Manifest(t.Context(), result.ID)
		if err != nil {
			t.Fatal(err)
		}
		if m.Name != opt.Name || fmt.Sprint(m.Tags) != "[a b]" || m.Mode != opt.Mode || m.Size != int64(n) {
			t.Errorf("manifest %+v", m)
		}
		if len(m.Segments) > 0 && (len(m.Peers) != 6 || len(m.Segments[0].Hints) != 6) {
			t.Errorf("%d peers, hints %v, want 6", len(m.Peers), m.Segments[0].Hints)
		}
	}
}

func TestLongSegmentListIsAnObjectOfItsOwn(t *testing.T) {
	u := newUser(t, newWorld(t, 6))
	opt := options
	opt.MaxList = 100
	for _, n := range []int{64<<10 + 1, 16<<20 + 1} {
		content := noise(4, n)
		result := u.put(content, opt)
		m, err := u.Manifest(t.Context(), result.ID)
		if err != nil || len(m.List) == 0 || len(m.Segments) > 0 {
			t.Fatalf("%d refs of a list, %d of content, %v", len(m.List), len(m.Segments), err)
		}
		u.get(result.ID, content)
		u.w.kill(u.w.members[1], u.w.members[4])
		u.get(result.ID, content)
		info, err := u.Info(t.Context(), result.ID)
		if err != nil || len(info.Segments) != 2+len(u.list(m)) {
			t.Errorf("info: %d segments, %v", len(info.Segments), err)
		}
		u.w.kill()
		for _, x := range u.w.members {
			x.set(0)
		}
	}
}

// list reads the references of a segment list.
func (u *user) list(m *format.Manifest) []format.SegmentRef {
	u.t.Helper()
	g := u.newGet(u.t.Context())
	defer g.findings()
	refs, _, err := g.segments(u.t.Context(), m)
	if err != nil {
		u.t.Fatal(err)
	}
	return refs
}

func TestSameContentTwiceHasNothingInCommon(t *testing.T) {
	for _, n := range []int{1000, 200_000} {
		u := newUser(t, newWorld(t, 6))
		content := bytes.Repeat([]byte("the same again. "), n/16)
		opt := options
		opt.Name, opt.Tags = "name", []string{"tag"}
		u.put(content, opt)
		before := u.everything()
		u.put(content, opt)
		runs := map[[16]byte]bool{}
		for _, shard := range before {
			for i := 0; i+16 <= len(shard); i++ {
				runs[[16]byte(shard[i:])] = true
			}
		}
		seen := 0
		for id, shard := range u.everything() {
			if before[id] != nil {
				continue
			}
			seen++
			for i := 0; i+16 <= len(shard); i++ {
				if runs[[16]byte(shard[i:])] {
					t.Fatalf("%d bytes: the run %q is in both", n, shard[i:i+16])
				}
			}
		}
		if seen != len(before) {
			t.Errorf("%d bytes: %d shards at first, %d new ones", n, len(before), seen)
		}
	}
}

// everything returns all shards that are stored, by id.
func (u *user) everything() map[datamesh.ShardID][]byte {
	u.t.Helper()
	all := map[datamesh.ShardID][]byte{}
	for _, m := range u.w.members {
		for _, key := range m.holds(u.t) {
			d, shard, err := m.store.Get(u.t.Context(), key, nil)
			if err != nil {
				u.t.Fatal(err)
			}
			all[d.Shards[key.Index]] = shard
		}
	}
	return all
}
