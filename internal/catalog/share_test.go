package catalog

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"

	"github.com/google/go-cmp/cmp"
)

// postOffice is a mesh that keeps the records of others' devices, in plain text.
type postOffice struct {
	t       *testing.T
	records map[DeviceID]map[uint64]post
}

type post struct {
	base   uint64
	card   *format.Card
	letter *format.Letter
}

// master makes records that are read by the office alone.
func (o *postOffice) master(owner datamesh.OwnerKey) Postmaster {
	var letter *format.Letter
	return Postmaster{
		Owner: owner, Card: []string{"mine"},
		Letter: func(l *format.Letter, recipient string) ([]byte, error) {
			letter = l
			return []byte("a letter to " + recipient), nil
		},
		Record: func(device DeviceID, seq, base uint64, payload []byte) ([]byte, error) {
			p := post{base: base}
			if p.card, _ = format.DecodeCard(payload); p.card == nil {
				p.letter = letter
			}
			if o.records[device] == nil {
				o.records[device] = map[uint64]post{}
			}
			o.records[device][seq] = p
			return append(device[:], byte(seq), byte(seq>>8)), nil
		},
	}
}

// deliver sends all that is to be sent, and returns how many records that were.
func (o *postOffice) deliver(c *Catalog, p Postmaster, only bool, now time.Time) (n int) {
	o.t.Helper()
	for ; ; n++ {
		record, err := c.UnsentPost(o.t.Context(), p, only, now)
		if err != nil {
			o.t.Fatal(err)
		}
		if record == nil {
			return n
		}
		device, seq := DeviceID(record[:16]), uint64(record[16])+uint64(record[17])<<8
		for old := range o.records[device] {
			if old <= o.records[device][seq].base {
				delete(o.records[device], old)
			}
		}
		if len(o.records[device]) > 256 {
			o.t.Fatalf("%d records count", len(o.records[device]))
		}
		if err := c.SentPost(o.t.Context(), device, seq); err != nil {
			o.t.Fatal(err)
		}
	}
}

// listed returns what the last letters say, which all devices have.
func (o *postOffice) listed() (shares, gone []datamesh.ObjectID) {
	for _, records := range o.records {
		last := uint64(0)
		for seq, p := range records {
			if p.letter != nil {
				last = max(last, seq)
			}
		}
		if l := records[last].letter; l != nil {
			for _, s := range l.Shares {
				shares = append(shares, s.Object)
			}
			gone = append(gone, l.Gone...)
		}
	}
	return shares, gone
}

func openShared(t *testing.T) *Catalog {
	t.Helper()
	c, err := Open(t.Context(), filepath.Join(t.TempDir(), "user.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var bob = datamesh.OwnerKey{2}

func addBob(t *testing.T, c *Catalog) {
	t.Helper()
	must(t, c.SetContact(t.Context(), Contact{Owner: bob, Name: "bob", Recipient: "bob's", Card: 1, Created: time.Unix(1, 0).UTC()}))
}

// Letters say what is shared now, and nothing twice; of many that count few are
// left, which say the same.
func TestLettersSayWhatIsSharedNow(t *testing.T) {
	ctx, c, o := t.Context(), openShared(t), &postOffice{t, map[DeviceID]map[uint64]post{}}
	master, now := o.master(datamesh.OwnerKey{1}), time.Unix(1_800_000_000, 0)
	if n := o.deliver(c, master, true, now); n != 0 {
		t.Errorf("a home that shares nothing says %d things", n)
	}
	addBob(t, c)
	if n := o.deliver(c, master, false, now); n != 1 {
		t.Errorf("%d records, want the card", n)
	}
	most := 0
	for i := range 300 {
		id := datamesh.ObjectID{byte(i), byte(i >> 8), 1}
		must(t, c.AddShare(ctx, Share{ID: id, Object: datamesh.ObjectID{9}, To: &bob, Name: fmt.Sprint(i), Created: now, Expires: now.Add(time.Hour)}))
		if n := o.deliver(c, master, true, now); n < 1 || n > 3 { // the card, and the letter again, when all is said anew
			t.Errorf("share %d: %d records", i, n)
		}
		if shares, _ := o.listed(); len(shares) != 1 || shares[0] != id {
			t.Fatalf("share %d: listed: %v", i, shares)
		}
		for _, records := range o.records {
			most = max(most, len(records))
		}
		must(t, c.Withdraw(ctx, id, now))
		must(t, c.Withdrawn(ctx, id))
		o.deliver(c, master, true, now)
		if shares, gone := o.listed(); len(shares) != 0 || len(gone) != 0 {
			t.Fatalf("share %d, taken back: listed: %v, %v", i, shares, gone)
		}
	}
	if most > manyPosts+2 || len(o.records) != 1 {
		t.Errorf("%d records count at once, of %d devices", most, len(o.records))
	}
	must(t, c.AddShare(ctx, Share{ID: datamesh.ObjectID{7}, Object: datamesh.ObjectID{9}, To: &bob, Created: now, Expires: now.Add(time.Hour)}))
	o.deliver(c, master, true, now)
	if shares, _ := o.listed(); len(shares) != 1 {
		t.Errorf("listed: %v", shares)
	}
	if o.deliver(c, master, true, now.Add(time.Hour)); len(o.records) != 1 {
		t.Error("another device")
	}
	if shares, _ := o.listed(); len(shares) != 0 {
		t.Errorf("when it is over it is listed: %v", shares)
	}
}

// A home that is an old copy says all anew as another device.
func TestAnOldCopySaysItsLettersAnew(t *testing.T) {
	ctx, c, o := t.Context(), openShared(t), &postOffice{t, map[DeviceID]map[uint64]post{}}
	master, now := o.master(datamesh.OwnerKey{1}), time.Unix(1_800_000_000, 0)
	addBob(t, c)
	must(t, c.AddShare(ctx, Share{ID: datamesh.ObjectID{7}, Object: datamesh.ObjectID{9}, To: &bob, Created: now}))
	o.deliver(c, master, false, now)
	must(t, c.AddShare(ctx, Share{ID: datamesh.ObjectID{8}, Object: datamesh.ObjectID{9}, To: &bob, Created: now}))
	record, err := c.UnsentPost(ctx, master, false, now)
	must(t, err)
	device := DeviceID(record[:16])
	if again, err := c.UnsentPost(ctx, master, false, now); err != nil || !cmp.Equal(again, record) {
		t.Errorf("a number has two meanings: %v", err)
	}
	if renewed, err := c.RefusedPost(ctx, device, uint64(record[16])); !renewed || err != nil {
		t.Errorf("got %v, %v", renewed, err)
	}
	delete(o.records, device)
	if n := o.deliver(c, master, true, now); n != 2 || o.records[device] != nil {
		t.Errorf("%d records", n)
	}
	if shares, _ := o.listed(); len(shares) != 2 {
		t.Errorf("listed: %v", shares)
	}
}

// Contacts and shares get to another home by the log, in whatever order, and what
// that takes back its letters say.
func TestSharesAreInTheLog(t *testing.T) {
	ctx, a, b := t.Context(), openShared(t), openShared(t)
	now := time.Unix(1_800_000_000, 0).UTC()
	addBob(t, a)
	for i := range 3 {
		must(t, a.AddShare(ctx, Share{ID: datamesh.ObjectID{byte(i), 1}, Object: datamesh.ObjectID{9}, To: &bob, Name: "x", Size: 5, Created: now, StoredBytes: 3}))
	}
	must(t, a.AddShare(ctx, Share{ID: datamesh.ObjectID{4, 1}, Object: datamesh.ObjectID{9}, Created: now, Expires: now.Add(time.Hour)}))
	must(t, a.Withdraw(ctx, datamesh.ObjectID{2, 1}, now))
	learn(t, a, b)
	same := func() {
		t.Helper()
		want, err := a.Shares(ctx)
		must(t, err)
		got, err := b.Shares(ctx)
		must(t, err)
		for i := range want {
			want[i].Own = false
		}
		for i := range got {
			got[i].Own = false
		}
		if diff := cmp.Diff(want, got); diff != "" || len(want) != 4 {
			t.Errorf("shares (-want +got):\n%s", diff)
		}
		people, err := a.Contacts(ctx)
		must(t, err)
		others, err := b.Contacts(ctx)
		must(t, err)
		if diff := cmp.Diff(people, others); diff != "" {
			t.Errorf("contacts (-want +got):\n%s", diff)
		}
	}
	same()
	o := &postOffice{t, map[DeviceID]map[uint64]post{}}
	must(t, b.Withdraw(ctx, datamesh.ObjectID{0, 1}, now))
	must(t, b.Withdrawn(ctx, datamesh.ObjectID{0, 1}))
	o.deliver(b, o.master(datamesh.OwnerKey{1}), false, now)
	if shares, gone := o.listed(); len(shares) != 0 || len(gone) != 2 {
		t.Errorf("the other home lists %v, and takes back %v", shares, gone)
	}
	learn(t, b, a)
	same()
	if err := a.RemoveContact(ctx, bob); !errors.Is(err, errs.Exists) {
		t.Errorf("a contact with whom something is shared: %v", err)
	}
	must(t, a.Withdraw(ctx, datamesh.ObjectID{1, 1}, now))
	must(t, a.RemoveContact(ctx, bob))
	learn(t, a, b)
	same()
	if people, err := b.Contacts(ctx); len(people) != 0 || err != nil {
		t.Errorf("got %v, %v", people, err)
	}
}

// learn has one home learn what another has to say.
func learn(t *testing.T, from, to *Catalog) {
	t.Helper()
	for {
		var changes []format.Change
		out, err := from.Unsent(t.Context(), func(_ DeviceID, _, _ uint64, block *format.LogBlock) ([]byte, error) {
			text, err := format.EncodeBlock(block)
			changes = block.Changes
			return text, err
		})
		must(t, err)
		if out == nil {
			return
		}
		device, err := from.Device(context.Background())
		must(t, err)
		_, err = to.Learn(t.Context(), device, changes)
		must(t, err)
		must(t, from.Sent(t.Context(), device, out.Seq))
	}
}
