package ring

import (
	"bytes"
	"fmt"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
)

// MaxMessage is the limit of an encoded message in bytes.
const MaxMessage = 64 << 10

// Limits of what stands in a message. They are so small that a message at
// all of them at once, as far as its kind has them, is below MaxMessage.
const (
	maxFacts   = 1 << 10 // facts of any kind
	maxBuckets = 1 << 8
	maxRows    = 400 // members that one side of a comparison names

	pingRoom = 16 << 10 // bytes of facts on a ping
	pageRoom = 44 << 10 // bytes of facts in a comparison
)

// A Kind is what a message is for. Each request has its one kind of answer.
type Kind uint8

const (
	KindPing   Kind = 1 + iota // are you there? And here is news.
	KindPong                   // yes; and here is news.
	KindAsk                    // ping the target for me.
	KindTold                   // whether the target answered.
	KindDigest                 // sums over my table.
	KindDiffer                 // the buckets in which mine differ.
	KindPull                   // what I hold in this range of peer ids.
	KindPage                   // what I hold that you do not, and what I want from you.
)

func (k Kind) String() string {
	names := [...]string{"ping", "pong", "ask", "told", "digest", "differ", "pull", "page"}
	if k < KindPing || k > KindPage {
		return fmt.Sprintf("kind %d", uint8(k))
	}
	return names[k-1]
}

// answer returns the kind of answer to a request, or 0 if k is none.
func (k Kind) answer() Kind {
	switch k {
	case KindPing, KindAsk, KindDigest, KindPull:
		return k + 1
	}
	return 0
}

// A Message is what machines say to each other. Drivers carry it, and need
// not look into it.
type Message struct {
	Version uint64            `cbor:"1,keyasint"`
	Kind    Kind              `cbor:"2,keyasint"`
	Facts   []Fact            `cbor:"3,keyasint,omitempty"`  // ping, pong, pull, page
	Target  *datamesh.PeerID  `cbor:"4,keyasint,omitempty"`  // ask
	Alive   bool              `cbor:"5,keyasint,omitempty"`  // told
	Sums    []byte            `cbor:"6,keyasint,omitempty"`  // digest: 8 bytes for each of 2^n buckets
	Buckets []byte            `cbor:"7,keyasint,omitempty"`  // differ: their numbers
	From    *datamesh.PeerID  `cbor:"8,keyasint,omitempty"`  // pull: the first id of the range
	To      *datamesh.PeerID  `cbor:"9,keyasint,omitempty"`  // pull: the last one
	Want    []datamesh.PeerID `cbor:"10,keyasint,omitempty"` // page
	Next    *datamesh.PeerID  `cbor:"11,keyasint,omitempty"` // page: the range is done up to here
}

// A Fact is what its sender believes of one incarnation of one member. With
// a record it proves that the incarnation exists; without one it is about
// the incarnation that it names. What it says of life and death is a rumour.
type Fact struct {
	Claim  claim            `cbor:"1,keyasint"`
	Age    uint32           `cbor:"2,keyasint,omitempty"` // seconds since the member was last known to live
	Record []byte           `cbor:"3,keyasint,omitempty"`
	Peer   *datamesh.PeerID `cbor:"4,keyasint,omitempty"` // without a record
	Seq    uint64           `cbor:"5,keyasint,omitempty"` // without a record
}

// claim is the state of a member as machines tell it to each other. Of one
// incarnation the greater claim holds, but see [Machine.claimed].
type claim uint8

const (
	unproven claim = iota // a record from a disk or a hello, and no word of the member yet
	alive
	suspect
	dead
)

// Encode returns the message's bytes.
func (m *Message) Encode() []byte { return format.Marshal(m) }

// DecodeMessage reads a message. Records in it are not checked before a
// Machine uses them. Kind: Serialization.
func DecodeMessage(b []byte) (*Message, error) {
	var m Message
	if err := format.Unmarshal("ring message", b, MaxMessage, &m); err != nil {
		return nil, err
	}
	if err := m.check(); err != nil {
		return nil, errs.New(errs.Serialization, "ring message: %w", err)
	}
	return &m, nil
}

// check refuses what no kind or not this kind of message has.
func (m *Message) check() error {
	rest := *m
	rest.Version, rest.Kind = 0, 0
	switch m.Kind {
	case KindPing, KindPong:
		rest.Facts = nil
	case KindAsk:
		rest.Target = nil
	case KindTold:
		rest.Alive = false
	case KindDigest:
		rest.Sums = nil
	case KindDiffer:
		rest.Buckets = nil
	case KindPull:
		rest.Facts, rest.From, rest.To = nil, nil, nil
	case KindPage:
		rest.Facts, rest.Want, rest.Next = nil, nil, nil
	}
	n := len(m.Sums) / 8
	switch {
	case m.Version != Version:
		return fmt.Errorf("version %d, this program knows %d", m.Version, Version)
	case m.Kind < KindPing || m.Kind > KindPage:
		return fmt.Errorf("unknown %s", m.Kind)
	case !rest.empty():
		return fmt.Errorf("%s with a field that it does not have", m.Kind)
	case len(m.Facts) > maxFacts || len(m.Buckets) > maxBuckets || len(m.Want) > maxRows || n > maxBuckets:
		return fmt.Errorf("%s that is too long", m.Kind)
	case m.Kind == KindAsk && m.Target == nil:
		return fmt.Errorf("%s without a target", m.Kind)
	case m.Kind == KindDigest && (n == 0 || n&(n-1) != 0 || len(m.Sums)%8 != 0):
		return fmt.Errorf("%s of %d bytes", m.Kind, len(m.Sums))
	case m.Kind == KindPull && (m.From == nil || m.To == nil || comparePeers(*m.From, *m.To) > 0):
		return fmt.Errorf("%s without a range", m.Kind)
	}
	for i := range m.Facts {
		f := &m.Facts[i]
		if f.Claim > dead || (f.Record == nil) == (f.Peer == nil) || (f.Record == nil) == (f.Seq == 0) {
			return fmt.Errorf("%s with a fact that is none", m.Kind)
		}
	}
	return nil
}

// empty reports whether no field that only some kinds have is set.
func (m *Message) empty() bool {
	return m.Facts == nil && m.Target == nil && !m.Alive && m.Sums == nil && m.Buckets == nil &&
		m.From == nil && m.To == nil && m.Want == nil && m.Next == nil
}

// size returns about how many bytes the fact has in a message, rounded up.
func (f *Fact) size() int { return 64 + len(f.Record) }

func comparePeers(a, b datamesh.PeerID) int { return bytes.Compare(a[:], b[:]) }
