// Package node is one node, wired: the home, the keys, the catalog, the
// store, the mesh and the pipelines, with each operation in a file of its
// own.
//
// A storage node keeps shards for its mesh and runs until it is closed. A
// client holds nothing, has a peer key that it throws away, and meets the
// mesh only when an operation needs it; in a home that knows of no other
// member it uses the home's own store instead, alone.
package node

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"datamesh"
	"datamesh/internal/cache"
	"datamesh/internal/catalog"
	"datamesh/internal/config"
	"datamesh/internal/crypt"
	"datamesh/internal/durable"
	"datamesh/internal/errs"
	"datamesh/internal/keyring"
	"datamesh/internal/mesh"
	"datamesh/internal/metrics"
	"datamesh/internal/object"
	"datamesh/internal/repair"
	"datamesh/internal/ring"
	"datamesh/internal/scrub"
	"datamesh/internal/store"
	"datamesh/internal/transfer"
)

// A Role is what a node is to its mesh.
type Role = ring.Role

// The roles.
const (
	Storage = ring.Storage
	Client  = ring.Client
)

// Agent is what a node calls itself to others.
const Agent = "datamesh/0.1"

// Options say what a node is and where it lives.
type Options struct {
	Home        config.Home
	User        config.User   // whose node it is; none: the default one of the home
	Keys        *keyring.File // the user's; nil: those of its identity file, for whose passphrase nobody is asked
	Config      config.Config
	Bootstrap   []config.Peer // to join through; none: the members that the home remembers, or mesh.bootstrap if it knows no mesh
	Role        Role
	NewMesh     bool          // make a mesh when the home has none
	Port        int           // 0: the remembered one, or any if that is taken; -1: the remembered one, or any if there is none
	JoinTimeout time.Duration // to give up joining after; 0: a storage node goes on for ever
	Version     string        // of the program, for the log
	Log         *slog.Logger
	Warn        func(text string) // tells the user of a command, who sees no log, of damage that was mended; may be nil
}

// A Node is a running node. It is safe for concurrent use.
type Node struct {
	opt     Options
	home    config.Home
	user    config.User
	secrets *keyring.File
	log     *slog.Logger
	catalog *catalog.Catalog // nil while a home is examined
	journal *object.Journal
	metrics *metrics.Metrics
	cached  atomic.Pointer[cache.Cache] // nil until there is a link, or if nothing is kept
	started time.Time
	now     func() time.Time // by which strays are old enough
	board   board

	deleting   sync.Mutex // held while an object is deleted or brought back
	cleaning   sync.Mutex // held while strays are looked for
	publishing *tickets   // of those who wait that the mesh knows what the catalog says
	compacting sync.Mutex // held while that is made shorter
	posting    sync.Mutex // held while it is sent the card and the letters of this home

	mu     sync.Mutex // guards link and missed, and is held while link is made
	link   *link      // nil until an operation needs it
	missed miss

	ctx    context.Context // ends when the node is closed
	cancel context.CancelFunc
	wg     sync.WaitGroup // what goes on in the background
}

// A link is what a node has of its mesh.
type link struct {
	self       datamesh.PeerID
	net        *mesh.Net // nil when the node is alone
	client     *transfer.Client
	remembered []ring.Learned      // the members that the home knew before
	disk       *store.Disk         // nil in a client of the mesh
	local      datamesh.ShardStore // that of disk, watched
	registry   *repair.Registry    // nil but in a storage node of a mesh
	keeper     *repair.Keeper      // likewise
	experience *experience         // likewise
	scrub      *scrub.Scrub        // of disk, or nil
	remote     func(datamesh.PeerID) datamesh.ShardStore
	view       func() *ring.View
	objects    *object.Objects
}

// Open opens a node in its home, which it makes if need be. A storage node
// has joined its mesh when Open returns. Kinds: Locked, Configuration,
// Unavailable (nobody answers), Authentication (another mesh), Invalid (a mesh
// is to be both made and joined), Database.
func Open(ctx context.Context, o Options) (*Node, error) {
	if err := o.Home.Make(); err != nil {
		return nil, err
	}
	durable.Tidy(filepath.Dir(o.Home.Mesh()))
	o.User = o.user()
	if err := o.User.Make(); err != nil {
		return nil, err
	}
	cat, err := catalog.Open(ctx, o.User.Catalog())
	if err != nil {
		return nil, err
	}
	n := newNode(o, cat)
	if o.Role == Storage || len(o.Bootstrap) > 0 {
		if _, err := n.connect(ctx); err != nil {
			return nil, errors.Join(err, n.Close(context.WithoutCancel(ctx)))
		}
	}
	n.begun()
	return n, nil
}

// user is whose node is opened.
func (o Options) user() config.User {
	if o.User == (config.User{}) {
		return o.Home.Default()
	}
	return o.User
}

func newNode(o Options, cat *catalog.Catalog) *Node {
	o.User = o.user()
	n := &Node{opt: o, home: o.Home, user: o.User, secrets: cmp.Or(o.Keys, keyring.At(o.User.Identity())), log: o.Log, catalog: cat,
		publishing: newTickets(), journal: object.NewJournal(o.User.Puts(), o.Config.Put.Resume), metrics: metrics.New(), started: time.Now(), now: time.Now}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	return n
}

// sweepTime is how long closing waits for the deletion of leftovers.
const sweepTime = 5 * time.Second

// Close ends the node: what goes on in the background, then the mesh, then
// the store. It returns when all is closed, or ctx has ended.
func (n *Node) Close(ctx context.Context) error {
	defer time.AfterFunc(sweepTime, n.cancel).Stop()
	done := make(chan error, 1)
	go func() { done <- n.close() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		n.cancel()
		return errs.New(errs.Unavailable, "the node did not end in time")
	}
}

func (n *Node) close() error {
	defer n.ends()()
	if n.opt.Role == Storage {
		n.cancel() // a service sweeps again when it starts
	}
	n.wg.Wait()
	n.cancel()
	n.mu.Lock()
	defer n.mu.Unlock()
	var err error
	if l := n.link; l != nil {
		err = l.close()
	}
	if n.catalog != nil {
		err = errors.Join(err, n.catalog.Close()) // no put is committed once others may sweep its journal
	}
	return errors.Join(err, n.journal.Close())
}

func (l *link) close() error {
	if l.objects != nil {
		l.objects.Close()
		l.objects.Cache.Close()
	}
	l.client.Close()
	var err error
	if l.net != nil {
		err = l.net.Close()
	}
	if l.disk != nil {
		err = errors.Join(err, l.disk.Close())
	}
	return err
}

// LoadIdentity says who a user of the home and its node are, without a network. It
// makes both on first use, and asks for no passphrase if it need not. Kinds:
// KeyManagement (also when the identity is gone that objects of the catalog were
// stored with), Authentication (a passphrase is needed), Database, IO.
func LoadIdentity(home config.Home, user config.User, keys *keyring.File) (Identity, error) {
	if err := errors.Join(home.Make(), user.Make()); err != nil {
		return Identity{}, err
	}
	public, _, err := PublicOf(context.Background(), user, keys)
	if errors.Is(err, errs.FileNotFound) {
		if _, err = loadKeys(user, keys, func() (catalog.Stats, error) { return cataloged(user) }); err == nil {
			public, _, err = PublicOf(context.Background(), user, keys)
		}
	}
	if err != nil {
		return Identity{}, err
	}
	self, err := nodeID(home)
	if err != nil {
		return Identity{}, err
	}
	return Identity{Name: user.Name, PeerID: self, Addrs: []string{}, Owner: public.Owner, Address: public.Owner.Address(), Recipient: public.Recipient}, nil
}

// cataloged counts what the catalog of a user has, if there is one.
func cataloged(user config.User) (s catalog.Stats, err error) {
	if _, err := os.Stat(user.Catalog()); errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	c, err := catalog.Open(context.Background(), user.Catalog())
	if err != nil {
		return s, err
	}
	defer c.Close()
	return c.Stats(context.Background())
}

// keys returns what the user can do, as it is now. Only the first use makes an
// identity: a node that only stores needs none.
func (n *Node) keys() (*keyring.Ring, error) {
	keys, err := loadKeys(n.user, n.secrets, func() (catalog.Stats, error) { return n.catalog.Stats(context.Background()) })
	return n.own(keys, err)
}

// heldKeys is keys for what others have said, or has to do with it: it makes no
// identity.
func (n *Node) heldKeys() (*keyring.Ring, error) { return n.own(n.secrets.Load()) }

// own returns the keys if the catalog is theirs: what one identity has stored
// must not be told in the name of another. Kind: KeyManagement.
func (n *Node) own(keys *keyring.Ring, err error) (*keyring.Ring, error) {
	ctx := context.Background()
	if err == nil {
		err = n.catalog.Belong(ctx, keys.OwnerKey())
	}
	if err != nil {
		n.cached.Load().Lock()
		return nil, err
	}
	epoch, _, err := n.catalog.Epoch(ctx)
	if err != nil || epoch == 0 {
		return keys, err
	}
	if keys, err = keys.Since(epoch); err != nil {
		return nil, err
	}
	return keys, n.secrets.Note(keys)
}

// loadKeys reads the identity of a user, or makes it. It makes none in the
// place of one that is gone: the user would go on with the new one, and find
// out too late that it opens nothing of what is in the catalog.
func loadKeys(user config.User, secrets *keyring.File, stored func() (catalog.Stats, error)) (*keyring.Ring, error) {
	keys, err := secrets.Load()
	if !errors.Is(err, errs.FileNotFound) {
		return keys, err
	}
	switch s, err := stored(); {
	case err != nil:
		return nil, err
	case s.Objects+s.Internal > 0:
		if keys, err := secrets.Load(); !errors.Is(err, errs.FileNotFound) { // who has stored that has made it since
			return keys, err
		}
		return nil, errs.WithHint(
			errs.New(errs.KeyManagement, "%s is gone, and what is in the catalog was stored with it", secrets.Path),
			"bring it back: datamesh keys import FILE; or move %s away and begin anew", user.Catalog())
	}
	keys, isNew, err := secrets.LoadOrNew()
	if isNew {
		err = secrets.MarkMade(time.Now())
	}
	return keys, err
}

// knownKeys returns what opens a user's objects, if there is a user and that can
// be had.
func knownKeys(secrets *keyring.File) ([]crypt.Identity, error) {
	ring, err := secrets.Load()
	if errors.Is(err, errs.FileNotFound) || errors.Is(err, errs.Authentication) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return ring.Identities, nil
}

// Addrs returns where a storage node can be reached.
func (n *Node) Addrs() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.opt.Role != Storage || n.link == nil {
		return []string{}
	}
	return n.link.net.Addrs()
}

// Identity says who this node and its user are.
func (n *Node) Identity(context.Context) (Identity, error) {
	id, err := LoadIdentity(n.home, n.user, n.secrets)
	id.Addrs, id.Locked = n.Addrs(), n.locked() != nil
	return id, err
}

// locked returns why the identity cannot be opened, if that is for want of its
// passphrase. Kind: Authentication.
func (n *Node) locked() error {
	if _, err := n.secrets.Load(); errors.Is(err, errs.Authentication) {
		n.cached.Load().Lock()
		return err
	}
	return nil
}
