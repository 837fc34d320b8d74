package catalog

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"

	"github.com/google/go-cmp/cmp"
)

// numbered returns an owner of a key of his own, and what that signs for.
func numbered(id byte) (datamesh.OwnerKey, ed25519.PrivateKey) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{id}, ed25519.SeedSize))
	return datamesh.OwnerKey(key.Public().(ed25519.PublicKey)), key
}

func owner(id byte) datamesh.OwnerKey {
	if id == bob[0] {
		return bob
	}
	key, _ := numbered(id)
	return key
}

func heirs(from datamesh.OwnerKey, ids ...byte) (all []format.Successor) {
	for _, id := range ids {
		if _, key := numbered(id); id == bob[0] {
			all = append(all, format.Successor{Owner: bob})
		} else {
			all = append(all, format.Succeed(from, key))
		}
	}
	return all
}

func claims(t *testing.T, c *Catalog, from datamesh.OwnerKey, to ...byte) bool {
	t.Helper()
	more, err := c.Claim(t.Context(), from, heirs(from, to...), time.Unix(1_800_000_000, 0))
	must(t, err)
	return more
}

// theContact returns the only contact of a catalog.
func theContact(t *testing.T, c *Catalog) Contact {
	t.Helper()
	all, err := c.Contacts(t.Context())
	must(t, err)
	if len(all) != 1 {
		t.Fatalf("contacts: %+v", all)
	}
	return all[0]
}

func isNow(t *testing.T, c *Catalog, want byte, disputed bool) {
	t.Helper()
	k := theContact(t, c)
	if now, _ := k.Now(); now != owner(want) || k.Disputed != disputed || !k.Follows(now) || !k.Follows(bob) {
		t.Errorf("he is %v, want %d; %+v", now, want, k)
	}
}

// The first successor that is known of holds, whatever comes later, and of two
// that are seen together none does, whatever goes later.
func TestTheFirstSuccessorHolds(t *testing.T) {
	c := openShared(t)
	addBob(t, c)
	isNow(t, c, 2, false)
	if !claims(t, c, bob, 3) || claims(t, c, bob, 3) {
		t.Error("it is not new once")
	}
	isNow(t, c, 3, false)
	if !claims(t, c, bob, 4, 3) || claims(t, c, bob, 5, 6) {
		t.Error("more are learnt than say anything")
	}
	isNow(t, c, 3, true)
	if others := theContact(t, c).Others; !slices.Equal(others, []datamesh.OwnerKey{owner(4)}) {
		t.Errorf("others: %v", others)
	}
	claims(t, c, bob, 4)
	isNow(t, c, 3, true)

	c = openShared(t)
	addBob(t, c)
	claims(t, c, bob, 3, 4, 5)
	isNow(t, c, 2, true)
	claims(t, c, bob, 4)
	isNow(t, c, 2, true)
}

// Chains are followed, but not for ever, and never round.
func TestChainsOfSuccessors(t *testing.T) {
	c := openShared(t)
	addBob(t, c)
	for i := range byte(12) {
		claims(t, c, owner(2+i), 3+i)
	}
	isNow(t, c, 2+MaxHeirs, false)

	c = openShared(t)
	addBob(t, c)
	claims(t, c, bob, 3)
	claims(t, c, owner(3), 4)
	claims(t, c, owner(4), 2)
	isNow(t, c, 4, false)
	must(t, c.SetHeir(t.Context(), Heir{format.Succession{From: owner(3), To: heirs(owner(3), 4)[0], Learnt: 1, Recipient: "the fourth's", Card: 5}, time.Unix(2, 0)}))
	k := theContact(t, c)
	if _, recipient := k.Now(); recipient != "the fourth's" {
		t.Errorf("sealed to %q", recipient)
	}
	must(t, c.SetHeir(t.Context(), Heir{format.Succession{From: owner(3), To: heirs(owner(3), 4)[0], Learnt: 9, Recipient: "an old one", Card: 4}, time.Unix(2, 0)}))
	if again := theContact(t, c); !cmp.Equal(k, again) {
		t.Errorf("an older card: %+v", again)
	}
}

// said returns what a home has to say, in the order of time.
func said(t *testing.T, c *Catalog) (all []format.Change) {
	t.Helper()
	for {
		out, err := c.Unsent(t.Context(), func(_ DeviceID, _, _ uint64, block *format.LogBlock) ([]byte, error) {
			text, err := format.EncodeBlock(block)
			if err == nil {
				block, err = format.DecodeBlock(text)
			}
			if err == nil {
				all = append(all, block.Changes...)
			}
			return text, err
		})
		must(t, err)
		if out == nil {
			return all
		}
		device, err := c.Device(t.Context())
		must(t, err)
		must(t, c.Sent(t.Context(), device, out.Seq))
	}
}

// Homes that have known of different successors, and of different cards of theirs,
// come to have the same, in whatever order they hear of each other: what one of
// them has known of before all others. Another that is made of that has it, too.
func TestSuccessionsAreInTheLog(t *testing.T) {
	ctx := t.Context()
	type from struct {
		device DeviceID
		change format.Change
	}
	var homes []*Catalog
	var all []from
	first := func(at int64, to ...byte) {
		c := openShared(t)
		addBob(t, c)
		_, err := c.Claim(ctx, bob, heirs(bob, to...), time.Unix(at, 0))
		must(t, err)
		for i, id := range to {
			h := Heir{format.Succession{From: bob, To: heirs(bob, id)[0], Learnt: format.ClockOf(at * 2000), Recipient: string('a' + rune(at%7) + rune(i)), Card: uint64(at % 5)}, time.Unix(at, 0)}
			if h.Card == 0 {
				h.Recipient = ""
			}
			must(t, c.SetHeir(ctx, h))
		}
		device, err := c.Device(ctx)
		must(t, err)
		for _, change := range said(t, c) {
			all = append(all, from{device, change})
		}
		homes = append(homes, c)
	}
	first(2_000_000_003, 4, 5)
	first(2_000_000_001, 3)
	first(2_000_000_002, 4)
	first(2_000_000_004, 3, 4)
	homes = append(homes, openShared(t), openShared(t))
	for i, c := range homes {
		r := rand.New(rand.NewPCG(1, uint64(i)))
		for range 2 {
			r.Shuffle(len(all), func(a, b int) { all[a], all[b] = all[b], all[a] })
			for _, x := range all {
				if own, err := c.Device(ctx); err != nil || own != x.device {
					_, err = c.Learn(ctx, x.device, []format.Change{x.change})
					must(t, err)
				}
			}
		}
		isNow(t, c, 3, true)
		want, got := theContact(t, homes[0]), theContact(t, c)
		if i == len(homes)-1 {
			addBob(t, c) // said anew
			got = theContact(t, c)
		}
		slices.SortFunc(got.Others, func(a, b datamesh.OwnerKey) int { return slices.Compare(a[:], b[:]) })
		slices.SortFunc(want.Others, func(a, b datamesh.OwnerKey) int { return slices.Compare(a[:], b[:]) })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("home %d (-want +got):\n%s", i, diff)
		}
	}
}

// An earlier catalog gets what it has not, and is read without.
func TestCatalogsOfBeforeKnowNoSuccessors(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "user.db")
	c, err := Open(ctx, path)
	must(t, err)
	addBob(t, c)
	_, err = c.db.ExecContext(ctx, `DROP TABLE succession`)
	must(t, errors.Join(err, c.Close()))
	c, err = OpenToRead(ctx, path)
	must(t, err)
	isNow(t, c, 2, false)
	must(t, c.Close())
	c, err = Open(ctx, path)
	must(t, err)
	defer c.Close()
	claims(t, c, bob, 3)
	isNow(t, c, 3, false)
}

// Letters go to whoever he was and is, each with what was shared with that one, and
// the card names the owner's own successor from when that is known on.
func TestLettersFollowSuccessors(t *testing.T) {
	ctx, c, o := t.Context(), openShared(t), &postOffice{t, map[DeviceID]map[uint64]post{}}
	self := owner(1)
	master, now := o.master(self), time.Unix(1_800_000_000, 0)
	addBob(t, c)
	must(t, c.AddShare(ctx, Share{ID: datamesh.ObjectID{7}, Object: datamesh.ObjectID{9}, To: &bob, Created: now}))
	claims(t, c, bob, 3)
	next := owner(3)
	must(t, c.AddShare(ctx, Share{ID: datamesh.ObjectID{8}, Object: datamesh.ObjectID{9}, To: &next, Created: now}))
	if n := o.deliver(c, master, false, now); n != 2 { // what is sealed to the next is not known yet
		t.Errorf("%d records, want the card and a letter", n)
	}
	must(t, c.SetHeir(ctx, Heir{format.Succession{From: bob, To: heirs(bob, 3)[0], Learnt: 1, Recipient: "the next one's", Card: 5}, now}))
	if n := o.deliver(c, master, false, now); n != 1 {
		t.Errorf("%d records, want a letter", n)
	}
	if shares, _ := o.listed(); len(shares) != 1 || shares[0] != (datamesh.ObjectID{8}) {
		t.Errorf("listed: %v", shares)
	}
	if err := c.RemoveContact(ctx, bob); !errors.Is(err, errs.Exists) {
		t.Errorf("a contact with whose successor something is shared is removed: %v", err)
	}

	claims(t, c, self, 5)
	if n := o.deliver(c, master, false, now); n != 1 {
		t.Errorf("%d records, want the card", n)
	}
	master.Card = []string{"mine", "newer"}
	if n := o.deliver(c, master, false, now); n != 1 {
		t.Errorf("%d records, want the card", n)
	}
	must(t, c.SayCardAgain(ctx))
	if n := o.deliver(c, master, false, now); n != 1 {
		t.Errorf("%d records, want the card again", n)
	}
	var last *format.Card
	for _, records := range o.records {
		for seq := range uint64(100) {
			if p := records[seq]; p.card != nil {
				last = p.card
			}
		}
	}
	if last == nil || last.Successor == nil || *last.Successor != heirs(self, 5)[0] || len(last.Recipients) != 2 {
		t.Errorf("the last card is %+v", last)
	}
}
