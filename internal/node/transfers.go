package node

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"datamesh"
	"datamesh/internal/config"
	"datamesh/internal/errs"
	"datamesh/internal/keyring"
	"datamesh/internal/object"
	"datamesh/internal/partial"
)

// A board has the puts, gets, scrubs and repairs that run in this process. Its
// zero value is ready for use, and it is safe for concurrent use.
type board struct {
	mu      sync.Mutex // guards running
	running map[string]*progress
}

// A progress counts what is done of a put, a get, a scrub or a repair.
type progress struct {
	kind, name string
	code       config.Code // of a put
	began      time.Time

	size, sealed, sent, confirmed, received atomic.Int64
}

// begin puts a transfer on the board, under an id of its own if the caller
// has none or that is taken. The caller calls end.
func (b *board) begin(id string, p *progress) (end func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running == nil {
		b.running = map[string]*progress{}
	}
	if id == "" || b.running[id] != nil {
		id = rand.Text()[:8]
	}
	p.began = time.Now().UTC()
	b.running[id] = p
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.running, id)
	}
}

// list returns what runs under an id, or, for "", all that runs.
func (b *board) list(id string) []Transfer {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := []Transfer{}
	for key, p := range b.running {
		if id == "" || id == key {
			all = append(all, p.state(key))
		}
	}
	slices.SortFunc(all, func(a, b Transfer) int { return cmp.Or(a.Began.Compare(b.Began), cmp.Compare(a.ID, b.ID)) })
	return all
}

func (p *progress) state(id string) Transfer {
	s := Transfer{ID: id, Kind: p.kind, Name: p.name, Size: p.size.Load(), Sealed: p.sealed.Load(), Sent: p.sent.Load(),
		Confirmed: p.confirmed.Load(), Received: p.received.Load(), State: Running, Began: p.began}
	if p.kind == PutTransfer {
		content := max(s.Size, s.Sealed)
		s.Total = max(s.Confirmed, content*int64(p.code.K+p.code.M)/int64(p.code.K))
	}
	return s
}

func (p *progress) events() object.PutEvents {
	return object.PutEvents{
		Sealed:    func(n int) { p.sealed.Add(int64(n)) },
		Sent:      func(n int) { p.sent.Add(int64(n)) },
		Confirmed: func(n int) { p.confirmed.Add(int64(n)) },
	}
}

// A receiver counts what is written.
type receiver struct {
	w io.Writer
	p *progress
}

func (r receiver) Write(b []byte) (int, error) {
	n, err := r.w.Write(b)
	r.p.received.Add(int64(n))
	return n, err
}

// Transfers returns the running transfer of that id, or, for "", all that
// run in this process and all of the home that were interrupted and can be
// resumed.
func (n *Node) Transfers(ctx context.Context, id string) (*Transfers, error) {
	list := &Transfers{Transfers: n.board.list(id)}
	if id != "" {
		return list, nil
	}
	if err := partial.Sweep(n.home.Gets(), n.opt.Config.Put.Resume); err != nil {
		return nil, err
	}
	left, err := interrupted(ctx, n.home, n.secrets, n.journal, n.stored(ctx))
	if err != nil {
		return nil, err
	}
	list.Transfers = append(list.Transfers, left...)
	return list, nil
}

// Resumable returns the interrupted transfers of a home whose node does not
// run, and changes nothing. Puts are remembered for so long.
func Resumable(ctx context.Context, home config.Home, user config.User, resume time.Duration) (*Transfers, error) {
	left, err := interrupted(ctx, home, keyring.At(user.Identity()), object.NewJournal(user.Puts(), resume), nothingStored)
	return &Transfers{Transfers: left}, err
}

// nothingStored stands for a catalog that is not asked: a put that died
// between its commit and the end of its journal is then listed too.
func nothingStored(datamesh.ObjectID) (bool, error) { return false, nil }

func interrupted(ctx context.Context, home config.Home, secrets *keyring.File, journal *object.Journal, stored object.Stored) ([]Transfer, error) {
	keys, err := knownKeys(secrets)
	if err != nil {
		return nil, err
	}
	puts, err := journal.Interrupted(ctx, keys, stored)
	if err != nil {
		return nil, err
	}
	gets, err := partial.List(home.Gets())
	if err != nil {
		return nil, err
	}
	all := []Transfer{}
	for _, p := range puts {
		all = append(all, Transfer{ID: p.ID, Kind: PutTransfer, Name: p.Name, Size: -1, Sealed: p.Bytes,
			State: Interrupted, Began: p.At.UTC()})
	}
	for _, g := range gets {
		all = append(all, Transfer{ID: g.ID, Kind: GetTransfer, Name: g.Name, Size: g.Size, Received: g.Done,
			State: Interrupted, Began: g.At})
	}
	return all, nil
}

// CancelTransfer gives up an interrupted transfer and deletes what it has
// left, on peers as far as they can be reached now. Kinds: FileNotFound,
// Locked (it runs).
func (n *Node) CancelTransfer(ctx context.Context, id string) error {
	if len(n.board.list(id)) > 0 {
		return errs.WithHint(errs.New(errs.Locked, "transfer %s is running", id), "interrupt the command that it belongs to")
	}
	err := partial.Forget(n.home.Gets(), id)
	if !errors.Is(err, errs.FileNotFound) {
		return err
	}
	err = n.journal.Forget(ctx, id)
	if errors.Is(err, errs.FileNotFound) {
		return errs.WithHint(errs.New(errs.FileNotFound, "there is no interrupted transfer %s", id), `see "datamesh transfers"`)
	}
	if err != nil {
		return err
	}
	l, err := n.connect(ctx)
	if err != nil {
		return nil // what is forgotten is swept when the mesh is met
	}
	return n.sweepOnce(ctx, l)
}
