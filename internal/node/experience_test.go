package node

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/ring"

	"github.com/google/go-cmp/cmp"
)

// table is the member table with node 0 and others in these states.
func table(states ...ring.State) *ring.View {
	var all []ring.Member
	for i, s := range append([]ring.State{ring.Alive}, states...) {
		if s != 0 {
			all = append(all, ring.Member{Record: &ring.Record{Peer: datamesh.PeerID{byte(i)}, Role: Storage}, State: s})
		}
	}
	return ring.NewView(all)
}

func TestExperienceCountsWhoIsLostAndForHowLongOthersWereThere(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	e := newExperience(datamesh.PeerID{}, now, seen{}, nil)
	want := func(what string, want seen) {
		t.Helper()
		want.since = 1_800_000_000
		if diff := cmp.Diff(want, e.now(), cmp.AllowUnexported(seen{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	pass := func(d time.Duration, segments, lost int) {
		now = now.Add(d)
		e.count(now, segments, lost)
	}
	e.look(table(ring.Suspect, ring.Alive, ring.Dead))
	pass(time.Minute, 10, 0)
	want("who was dead before is no loss", seen{memberSeconds: 120, segmentSeconds: 600})
	e.look(table(ring.Alive, ring.Suspect, ring.Alive))
	e.look(table(ring.Dead, ring.Suspect, ring.Dead))
	e.look(table(ring.Dead, ring.Suspect, ring.Dead))
	pass(90*time.Second+time.Second/2, 10, 1)
	want("two are lost", seen{memberSeconds: 210, segmentSeconds: 1410, losses: 2, dead: []datamesh.PeerID{{1}, {3}}, lost: 1})
	e.look(table(ring.Alive, ring.Alive, ring.Dead))
	want("one is back", seen{memberSeconds: 210, segmentSeconds: 1410, losses: 1, dead: []datamesh.PeerID{{3}}, lost: 1})
	e.look(table(ring.Alive, ring.Alive))
	want("one is forgotten, and stays lost", seen{memberSeconds: 210, segmentSeconds: 1410, losses: 1, dead: []datamesh.PeerID{}, lost: 1})
	pass(time.Hour, 10, 0)
	pass(-time.Hour, 10, 0)
	pass(time.Second/2, 10, 0)
	pass(time.Second/2, 10, 0)
	want("a machine that was asleep saw nothing", seen{memberSeconds: 212, segmentSeconds: 1420, losses: 1, dead: []datamesh.PeerID{}})
	e.repaired(-time.Second)
	e.repaired(90 * time.Second)
	e.repaired(30 * time.Second)
	want("two repairs", seen{memberSeconds: 212, segmentSeconds: 1420, losses: 1, dead: []datamesh.PeerID{}, repairs: 2, repairSeconds: 120})
	if !e.happened() || e.happened() {
		t.Error("what has happened is not to be written down once")
	}
}

// Who died while the node did not run is lost, and who returns is not.
func TestExperienceGoesOnAfterARestart(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	was := seen{since: 5, losses: 3, dead: []datamesh.PeerID{{2}}, memberSeconds: 7}
	e := newExperience(datamesh.PeerID{}, now, was, []ring.Learned{
		{Record: &ring.Record{Peer: datamesh.PeerID{1}}, State: ring.Alive}, {Record: &ring.Record{Peer: datamesh.PeerID{2}}, State: ring.Dead}})
	e.look(table(ring.Suspect, ring.Dead))
	e.look(table(ring.Dead, ring.Dead))
	if s := e.now(); s.losses != 4 || len(s.dead) != 2 || s.since != 5 {
		t.Errorf("got %+v", s)
	}
	e.look(table(ring.Alive, ring.Alive))
	if s := e.now(); s.losses != 2 || len(s.dead) != 0 {
		t.Errorf("got %+v", s)
	}
}

// experiences are records of version 1 and their bytes, which stay readable
// for ever.
var experiences = map[string]seen{
	"a20101021a6b49d200": {since: 1_800_000_000},
	"a90101021a6b49d200031a3b9aca0004020581" + "5820" + "0700000000000000000000000000000000000000000000000000000000000000" +
		"060307190e10081b000000e8d4a510000901": {since: 1_800_000_000, memberSeconds: 1_000_000_000, losses: 2, dead: []datamesh.PeerID{{7}},
		repairs: 3, repairSeconds: 3600, segmentSeconds: 1_000_000_000_000, lost: 1},
}

func TestExperiencesKeepTheirBytes(t *testing.T) {
	for text, want := range experiences {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := want.encode(); !bytes.Equal(got, b) {
			t.Errorf("%+v: got %x, want %x", want, got, b)
		}
		got, err := decodeSeen(b)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(seen{})); err != nil || diff != "" {
			t.Errorf("%x: %v (-want +got):\n%s", b, err, diff)
		}
	}
	most := seen{since: 1, losses: 1e9, memberSeconds: 1 << 61, repairs: 1 << 61, repairSeconds: 1 << 61, segmentSeconds: 1 << 61, lost: 1e9}
	for i := range maxDead {
		most.dead = append(most.dead, datamesh.PeerID{byte(i >> 8), byte(i)})
	}
	if _, err := decodeSeen(most.encode()); err != nil {
		t.Errorf("of the largest: %v", err)
	}
}

func TestExperiencesThatMakeNoSenseAreRefused(t *testing.T) {
	encode := func(change func(*seen)) string {
		s := seen{since: 1, losses: 2, dead: []datamesh.PeerID{{1}, {2}}}
		change(&s)
		return hex.EncodeToString(s.encode())
	}
	for name, text := range map[string]string{
		"nothing":               "",
		"another version":       "a201020201",
		"without a version":     "a10201",
		"without a time":        "a201010200",
		"a negative number":     encode(func(s *seen) { s.memberSeconds = -1 }),
		"too great a number":    encode(func(s *seen) { s.segmentSeconds = 1<<63 - 1 }),
		"more dead than lost":   encode(func(s *seen) { s.losses = 1 }),
		"dead out of order":     encode(func(s *seen) { slices.Reverse(s.dead) }),
		"too many dead":         encode(func(s *seen) { s.losses, s.dead = 1e6, make([]datamesh.PeerID, maxDead+1) }),
		"more than it may have": "a3010102010558" + "ff" + strings.Repeat("00", 255),
		"another field":         "a3010102010a01",
		"something behind":      "a20101020100",
	} {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := decodeSeen(b); !errors.Is(err, errs.Serialization) {
			t.Errorf("%s: got %+v, %v, want kind Serialization", name, s, err)
		}
	}
}

func FuzzExperience(f *testing.F) {
	for text := range experiences {
		b, _ := hex.DecodeString(text)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := decodeSeen(b); err == nil && !bytes.Equal(s.encode(), b) {
			t.Errorf("%x became %x", b, s.encode())
		}
	})
}
