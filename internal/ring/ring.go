// Package ring is the table of a mesh's members: who belongs, who lives, and
// who keeps the records of a key.
//
// A Machine is pure: it has no goroutine, no clock, no socket and no log. Its
// driver tells it the time and what happened, one [Event] at a time, and
// carries out the [Effect] values that come back:
//
//	m, err := ring.New(cfg, self, key)      // self is nil for a client
//	for _, r := range remembered {          // from disk, or the answer to a hello
//		do(m.Step(now, ring.Learned{Record: r}))
//	}
//	for {
//		select {
//		case <-timer:  do(m.Step(now, ring.Tick{}))
//		case r := <-…: do(m.Step(now, ring.Request{From: …, Message: …, Token: …}))
//		}
//		timer.Reset(until(m.Next()))
//	}
//
// The same configuration and the same events at the same times give the same
// effects, byte for byte.
//
// Failure detection is SWIM (Das, Gupta, Motivala 2002) with what pays of
// HashiCorp's practice and of Lifeguard (Dadgar et al. 2018): a rumour about
// death is sent on between probes, the suspect is told first, and it is asked
// once more before it is given up. Three rules are our own. Every member also
// watches its neighbour in the order of peer ids, so that a silence is noticed
// within one period and not after a random time. What a member has heard
// itself outweighs what others say. And when two tables disagree on who is
// dead, both sides ask the member. A member that falls silent is dead in every
// live member's view within six periods: one until it is noticed, one for the
// probe, two of suspicion, and the rest for the rumour, and for one or two of
// its neighbours that fall silent with it.
//
// What a liar can do. It can sign any number of members of its own into an
// open mesh: admission is for the closed one. It can show one member's signed
// record to those who never knew it, long after that member went; they find it
// dead by themselves. Of a living member it can say that it is suspect or
// dead, in that member's present incarnation only: the member is shown as
// suspect for a moment by those who have not just heard from it, and refutes.
// Who makes many members can choose their ids so that they are contacts of one
// other, which then hears less of the rest; and the more there are, the fewer of a
// member's contacts are any of the others, until those that never answer are found
// dead. Who watches it stays the same. A newcomer that asks only the liar sees who it says is dead as dead until
// its own probes find otherwise. And it can vouch for a silent member when it
// is one of three that are asked, which delays the truth by a probe.
package ring

import (
	"cmp"
	"time"

	"datamesh"
)

// A Config has what the members of a mesh agree on. Members whose Probe
// differs work together, but the slower decides.
type Config struct {
	Mesh  datamesh.MeshID
	Probe time.Duration // the protocol's period; 0 is 5 s, and a death is known within 30 s
	Sync  time.Duration // between two comparisons of tables; 0 is 12 × Probe
	Evict time.Duration // how long the dead are remembered; 0 is 7 days
	Seed  uint64        // of all random choices; each machine has its own
}

func (c Config) withDefaults() Config {
	c.Probe = cmp.Or(c.Probe, 5*time.Second)
	c.Sync = cmp.Or(c.Sync, 12*c.Probe)
	c.Evict = cmp.Or(c.Evict, 7*24*time.Hour)
	return c
}

// An Event is what happened: [Tick], [Request], [Response], [Failed],
// [Learned], [Disconnected], [Self] or [Compare].
type Event interface{ event() }

type (
	// Tick says that nothing happened, but time went by.
	Tick struct{}

	// Request is a message of a peer whose id the transport has proven. It is
	// answered by exactly one [Reply] with its Token, maybe in a later Step.
	Request struct {
		From    datamesh.PeerID
		Message *Message
		Token   uint64 // the driver's
	}

	// Response is the answer to a [Call].
	Response struct {
		Token   uint64 // the call's
		Message *Message
		Took    time.Duration // from the request's first byte to the answer's last, without dialling
	}

	// Failed says that a [Call] has no answer and will have none.
	Failed struct{ Token uint64 }

	// Learned brings a record from elsewhere: from the disk, or from a hello.
	// Its signature has been checked, as [DecodeRecord] does. The member is
	// asked before it counts as alive.
	Learned struct {
		Record *Record
		State  State     // as last seen; 0 if that is not known
		Since  time.Time // as last seen; zero if that is not known
	}

	// Disconnected is a hint that a peer may be gone. If it is a contact, or
	// watched, it is asked at once: connections to others end all the time.
	Disconnected struct{ Peer datamesh.PeerID }

	// Self has what this member says of itself from now on. A change of Used
	// below 5 % of Capacity is not spread. What a [Record] has no room for
	// among the addresses is left out.
	Self struct {
		Addrs          []string
		Capacity, Used int64
	}

	// Compare asks for a comparison with the table of a member now, or with
	// that of any if the one named is not known. It is over when
	// [Machine.Comparing] is false.
	Compare struct{ With datamesh.PeerID }
)

func (Tick) event()         {}
func (Request) event()      {}
func (Response) event()     {}
func (Failed) event()       {}
func (Learned) event()      {}
func (Disconnected) event() {}
func (Self) event()         {}
func (Compare) event()      {}

// An Effect is what the driver shall do: [Call], [Reply] or [Changed].
type Effect interface{ effect() }

type (
	// Call asks for a request to a peer, delivered at most once. Exactly one
	// [Response] or [Failed] with its Token follows, the latter at the end of
	// Timeout, dialling included. The sooner a refused connection is reported,
	// the sooner a death is known. Calls to one peer may overlap.
	Call struct {
		Token   uint64
		To      datamesh.PeerID
		Addrs   []string // where its record says that it listens
		Message *Message
		Timeout time.Duration
	}

	// Reply answers a [Request]. Without a message the peer broke the
	// protocol and its stream is to be reset.
	Reply struct {
		Token   uint64
		Message *Message
	}

	// Changed says that [Machine.View] has a new member, state or record, and
	// that the members should be kept on disk some time soon. A round-trip
	// time alone is no such change.
	Changed struct{}
)

func (Call) effect()    {}
func (Reply) effect()   {}
func (Changed) effect() {}
