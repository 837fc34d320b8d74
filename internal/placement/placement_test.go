package placement

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"datamesh"
)

// members returns n members without labels, each at its own place.
func members(n int, capacity func(i int) int64) []Candidate {
	all := make([]Candidate, n)
	for i := range all {
		all[i] = Candidate{Peer: peer(i), ID: key(1, i), Capacity: capacity(i)}
	}
	return all
}

func same(n int64) func(int) int64 { return func(int) int64 { return n } }

// key returns one of many keys that have nothing to do with each other.
func key(kind byte, n int) (k [32]byte) {
	seed := [32]byte{kind}
	binary.LittleEndian.PutUint64(seed[1:], uint64(n))
	rand.NewChaCha8(seed).Read(k[:])
	return k
}

func peers(all []Candidate) (ids []datamesh.PeerID) {
	for _, c := range all {
		ids = append(ids, c.Peer)
	}
	return ids
}

func TestHoldersAreInXOROrderWhenNothingElseCounts(t *testing.T) {
	all := members(50, same(1<<40))
	segment := datamesh.SegmentID(key(2, 0))
	got := Holders(all, segment, 6, 2, 1<<20)
	if len(got) != 50 {
		t.Fatalf("%d of 50 members", len(got))
	}
	for i := 1; i < len(got); i++ {
		if bytes.Compare(xor(got[i-1].ID, segment), xor(got[i].ID, segment)) >= 0 {
			t.Errorf("member %d is nearer than the one before", i)
		}
	}
}

func TestHoldersDependOnTheTableAndNotOnItsOrder(t *testing.T) {
	all := members(40, func(i int) int64 { return int64(1+i%3) << 30 })
	for i := range all {
		all[i].Used = int64(i) << 24
		all[i].Site = fmt.Sprint("site ", i%7)
		all[i].Host = fmt.Sprint("host ", i%13)
	}
	before := slices.Clone(all)
	want := peers(Holders(all, key(2, 1), 6, 2, 1<<20))
	if !slices.Equal(all, before) {
		t.Error("the table was changed")
	}
	seed := rand.Uint64()
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	if got := peers(Holders(all, key(2, 1), 6, 2, 1<<20)); !slices.Equal(got, want) {
		t.Errorf("seed %d: got %v, want %v", seed, got, want)
	}
}

func TestMembersWithoutRoomComeLast(t *testing.T) {
	all := members(20, same(1<<30))
	for i := range 12 {
		all[i].Used = all[i].Capacity - 99 // they are nearly full, and so is the mesh
	}
	all[3].Capacity, all[3].Used = 0, 0
	for n := range 20 {
		got := Holders(all, key(2, n), 6, 2, 100)
		for i, c := range got {
			if room := c.Capacity-c.Used >= 100; room != (i < 8) {
				t.Errorf("segment %d: place %d has room: %v", n, i, room)
			}
		}
	}
	if got := Holders(all, key(2, 0), 6, 2, 99); len(got) != 20 || got[19].Capacity != 0 {
		t.Error("with room for just that shard all but one may hold it")
	}
}

func TestNoMembersAndFewMembers(t *testing.T) {
	if got := Holders(nil, key(2, 0), 6, 2, 100); len(got) != 0 {
		t.Errorf("got %d holders of no members", len(got))
	}
	if got := Holders(members(3, same(1<<30)), key(2, 0), 6, 2, 100); len(got) != 3 {
		t.Errorf("got %d holders of 3 members", len(got))
	}
}

// Plain XOR order would fill some members to three times the mean.
func TestMembersFillEvenly(t *testing.T) {
	for what, tt := range map[string]struct {
		segments int
		capacity func(int) int64
	}{
		"of one size":     {20_000, same(10 << 30)},
		"of many sizes":   {20_000, func(i int) int64 { return int64(5+i%16) << 30 }},
		"one ten times":   {5_000, func(i int) int64 { return int64(2) << 30 * int64(1+9*(1/(i+1))) }},
		"a mesh nearly 0": {5_000, same(1 << 50)},
	} {
		all := members(60, tt.capacity)
		place := map[datamesh.PeerID]*Candidate{}
		for i := range all {
			place[all[i].Peer] = &all[i]
		}
		const shard = 4 << 20
		for s := range tt.segments {
			for _, c := range Holders(all, key(3, s), 6, 2, shard)[:6] {
				place[c.Peer].Used += shard
			}
		}
		var most, mean float64
		for i := range all {
			most = max(most, all[i].fill())
			mean += all[i].fill() / float64(len(all))
		}
		t.Logf("%s: the fullest member is at %.4f, the mean %.4f, %.2f times", what, most, mean, most/mean)
		if most > 1.2*mean && most > mean+0.02 {
			t.Errorf("%s: the fullest member is at %.4f, the mean at %.4f", what, most, mean)
		}
	}
}

// spreadOf counts the shards in the fullest domain of a kind.
func spreadOf(holders []Candidate, name func(Candidate) string) (most int) {
	count := map[string]int{}
	for _, c := range holders {
		if name(c) != "" {
			count[name(c)]++
			most = max(most, count[name(c)])
		}
	}
	return most
}

func site(c Candidate) string  { return c.Site }
func host(c Candidate) string  { return c.Host }
func owner(c Candidate) string { return c.Owner }

func TestDomainsAreKeptApart(t *testing.T) {
	const n = 6
	for _, tt := range []struct {
		what                string
		sites, hosts        int // hosts are within sites
		owners              int
		perSite, perHost    int // the most that there may be
		perOwner, memberNum int
	}{
		{"enough sites", 10, 30, 12, 1, 1, 1, 60},
		{"as many sites as shards", 6, 30, 0, 1, 1, 0, 60},
		{"three sites", 3, 30, 0, 2, 1, 0, 60},
		{"two sites", 2, 30, 0, 3, 1, 0, 60},
		{"one site", 1, 30, 0, 6, 1, 0, 60},
		{"one site with three hosts", 1, 3, 0, 6, 2, 0, 60},
		{"four sites, four hosts", 4, 4, 0, 2, 2, 0, 60},
		{"hosts alone", 0, 20, 0, 0, 1, 0, 60},
		{"owners alone", 0, 0, 4, 0, 0, 2, 60},
		{"one of each", 1, 1, 1, 6, 6, 6, 10},
	} {
		all := members(tt.memberNum, same(1<<30))
		for i := range all {
			if tt.sites > 0 {
				all[i].Site = fmt.Sprint("site ", i%tt.sites)
			}
			if tt.hosts > 0 {
				all[i].Host = fmt.Sprint("host ", i%tt.hosts)
			}
			if tt.owners > 0 {
				all[i].Owner = fmt.Sprint("owner ", i%tt.owners)
			}
		}
		for s := range 300 {
			got := Holders(all, key(4, s), n, 2, 1000)[:n]
			if a, b, c := spreadOf(got, site), spreadOf(got, host), spreadOf(got, owner); a > tt.perSite || b > tt.perHost || c > tt.perOwner {
				t.Errorf("%s, segment %d: %d shards in a site, %d on a host, %d of an owner; want %d, %d, %d",
					tt.what, s, a, b, c, tt.perSite, tt.perHost, tt.perOwner)
				break
			}
		}
	}
}

func TestSitesOfUnequalSizeHoldNoMoreThanTheyMust(t *testing.T) {
	all := members(40, same(1<<30))
	for i := range all {
		all[i].Site = "large"
	}
	all[0].Site, all[1].Site, all[2].Site = "small", "small", "tiny"
	for s := range 300 {
		got := Holders(all, key(5, s), 6, 2, 1000)[:6]
		count := map[string]int{}
		for _, c := range got {
			count[c.Site]++
		}
		if count["large"] != 3 || count["small"] != 2 || count["tiny"] != 1 {
			t.Fatalf("segment %d: got %v", s, count)
		}
	}
}

// Owner x has all members of four sites, so that a shard in each of the six
// sites would leave more than two with x.
func TestNoDomainHoldsMoreThanItsShareIfItCanBeHelped(t *testing.T) {
	all := members(60, same(1<<30))
	for i := range all {
		all[i].Site = fmt.Sprint("site ", i%6)
		all[i].Owner = fmt.Sprint("owner ", i)
		if i%6 < 4 {
			all[i].Owner = "x"
		}
	}
	for s := range 300 {
		got := Holders(all, key(9, s), 6, 2, 1000)[:6]
		if a, b := spreadOf(got, site), spreadOf(got, owner); a > 2 || b > 2 {
			t.Fatalf("segment %d: %d shards in a site, %d of an owner", s, a, b)
		}
	}
}

func TestADomainOfAnotherKindMayHaveTheSameName(t *testing.T) {
	all := members(12, same(1<<30))
	for i := range all {
		switch i % 3 {
		case 0:
			all[i].Site = "ann"
		case 1:
			all[i].Host = "ann"
		case 2:
			all[i].Owner = "ann"
		}
	}
	got := Holders(all, key(6, 0), 3, 2, 1000)[:3]
	if spreadOf(got, site) != 1 || spreadOf(got, host) != 1 || spreadOf(got, owner) != 1 {
		t.Errorf("got %v", got)
	}
}

func TestAFullerMemberIsPassedOver(t *testing.T) {
	all := members(10, same(1<<30))
	for i := range all {
		all[i].Used = 100 << 20
	}
	segment := datamesh.SegmentID(key(7, 0))
	nearest := Holders(all, segment, 3, 2, 1000)[0].Peer
	i := slices.IndexFunc(all, func(c Candidate) bool { return c.Peer == nearest })
	all[i].Used = 200 << 20
	if got := peers(Holders(all, segment, 3, 2, 1000)); got[len(got)-1] != nearest {
		t.Errorf("the member that is twice as full as the mean is at place %d", slices.Index(got, nearest))
	}
}

func BenchmarkHolders(b *testing.B) {
	for _, n := range []int{60, 10_000} {
		all := members(n, same(1<<40))
		for i := range all {
			all[i].Host = fmt.Sprint(i % 100)
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				Holders(all, key(8, i), 6, 2, 4<<20)
			}
		})
	}
}

func TestBesideKeepsAwayFromTheHolders(t *testing.T) {
	all := members(20, same(1<<40))
	for i := range all {
		all[i].Site = fmt.Sprint("site ", i%4)
	}
	all[9].Used = all[9].Capacity // it has no room
	holders := []datamesh.PeerID{all[0].Peer, all[1].Peer, all[4].Peer}
	order := Beside(all, key(2, 1), 2, 1<<20, holders)
	if len(order) != 20 || order[19].Peer != all[9].Peer {
		t.Fatalf("%d of 20 members, the last with room: %v", len(order), order[19].Peer != all[9].Peer)
	}
	want := map[string]int{"site 2": 1, "site 3": 1, "site 1": 2, "site 0": 3} // of which there are none, none, one and two
	last := 0
	for _, c := range order[:19] {
		if want[c.Site] < last {
			t.Errorf("a member in %s comes after one that stands closer to the holders", c.Site)
		}
		last = want[c.Site]
	}
	plain := Holders(all, key(2, 1), 0, 2, 1<<20)
	if got := peers(Beside(all, key(2, 1), 2, 1<<20, nil)); !slices.Equal(got, peers(plain)) {
		t.Error("without holders the order is another than that of Holders")
	}
}
