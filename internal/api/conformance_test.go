package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/node"
)

// overSocket serves ops on a socket and returns a client of it.
func overSocket(t *testing.T, ops Operations) Operations {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "run", "api.sock")
	ln, err := Listen(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, ln, ops) }()
	client, err := Dial(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Close()
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return client
}

// Whatever holds for Operations holds for a client of a node as for the node.
func TestOperations(t *testing.T) {
	for name, connect := range map[string]func(*testing.T, Operations) Operations{
		"direct":      func(_ *testing.T, ops Operations) Operations { return ops },
		"over socket": overSocket,
	} {
		t.Run(name, func(t *testing.T) {
			t.Run("answer", func(t *testing.T) { testAnswers(t, connect) })
			t.Run("carry any content and options", func(t *testing.T) { testContent(t, connect) })
			t.Run("keep errors", func(t *testing.T) { testErrors(t, connect) })
			t.Run("put fails when its reader does", func(t *testing.T) { testBrokenReader(t, connect) })
			t.Run("put may be refused early", func(t *testing.T) { testEarlyRefusal(t, connect) })
			t.Run("get ends as it should", func(t *testing.T) { testBrokenGet(t, connect) })
			t.Run("list one by one", func(t *testing.T) { testList(t, connect) })
			t.Run("text of a list", func(t *testing.T) { testListText(t, connect) })
			t.Run("stop when cancelled", func(t *testing.T) { testCancel(t, connect) })
		})
	}
}

func testAnswers(t *testing.T, connect func(*testing.T, Operations) Operations) {
	m := new(memory)
	ops := connect(t, m)
	if _, err := ops.Put(t.Context(), strings.NewReader("x"), node.PutOptions{Name: "a/b ?&%"}); err != nil {
		t.Fatal(err)
	}
	check := func(name string, call func(Operations) (any, error)) {
		want, errWant := call(m)
		got, err := call(ops)
		if diff := cmp.Diff(want, got); diff != "" || err != nil || errWant != nil {
			t.Errorf("%s: %v, %v (-want +got):\n%s", name, errWant, err, diff)
		}
	}
	check("Identity", func(o Operations) (any, error) { return o.Identity(t.Context()) })
	check("List", func(o Operations) (any, error) { return listed(t, o, node.ListOptions{}) })
	check("List with options", func(o Operations) (any, error) {
		at := time.Unix(1, 2).UTC()
		return listed(t, o, node.ListOptions{Pattern: "a/* ?&%", Words: []string{"ÿ", ""}, Tag: "t", Type: "y", Larger: 1, Smaller: 2, After: at, Before: at, Sort: "size", Limit: 1})
	})
	check("Versions", func(o Operations) (any, error) { return o.Versions(t.Context(), "a/b ?&%") })
	check("Rename", func(o Operations) (any, error) {
		return o.Rename(t.Context(), node.RenameOptions{From: "a/b ?&%", To: "ÿ", Force: true})
	})
	check("Copy", func(o Operations) (any, error) {
		return o.Copy(t.Context(), node.CopyOptions{From: "a/b ?&%", To: "ÿ"})
	})
	check("Tag", func(o Operations) (any, error) {
		return o.Tag(t.Context(), node.TagOptions{Ref: "a/b ?&%", Add: []string{"a"}, Remove: []string{"b", "c"}})
	})
	check("Pin", func(o Operations) (any, error) {
		return o.Pin(t.Context(), node.PinOptions{Ref: "a/b ?&%", Unpin: true})
	})
	check("Delete", func(o Operations) (any, error) {
		return o.Delete(t.Context(), "a/b ?&%", node.DeleteOptions{Forget: true, DryRun: true})
	})
	check("Hear", func(o Operations) (any, error) { return o.Hear(t.Context()) })
	check("Publish", func(o Operations) (any, error) { return o.Publish(t.Context()) })
	check("Undelete", func(o Operations) (any, error) { return o.Undelete(t.Context(), "a/b ?&%") })
	check("Deleted", func(o Operations) (any, error) { return o.Deleted(t.Context()) })
	check("Cleanup", func(o Operations) (any, error) { return o.Cleanup(t.Context(), node.CleanupOptions{DryRun: true}) })
	check("Contacts", func(o Operations) (any, error) { return o.Contacts(t.Context()) })
	check("AddContact", func(o Operations) (any, error) { return o.AddContact(t.Context(), "a/b ?&%", "=&") })
	check("RemoveContact", func(o Operations) (any, error) { return o.RemoveContact(t.Context(), "a/b ?&%") })
	check("Share", func(o Operations) (any, error) {
		return o.Share(t.Context(), "a/b ?&%", node.ShareOptions{To: "&", Recipient: "=", Expires: time.Hour})
	})
	check("Shares", func(o Operations) (any, error) { return o.Shares(t.Context()) })
	check("Unshare", func(o Operations) (any, error) {
		return o.Unshare(t.Context(), "a/b ?&%", node.UnshareOptions{From: "&", Link: "=", Revoke: true, Now: true, DryRun: true, Transfer: "?"})
	})
	check("Inbox", func(o Operations) (any, error) { return o.Inbox(t.Context()) })
	check("Check", func(o Operations) (any, error) { return o.Check(t.Context(), "a/b ?&%") })
	check("Info", func(o Operations) (any, error) { return o.Info(t.Context(), "a/b ?&%", false) })
	check("Info that is proven", func(o Operations) (any, error) { return o.Info(t.Context(), "a/b ?&%", true) })
	check("Peers", func(o Operations) (any, error) { return o.Peers(t.Context()) })
	check("Discover", func(o Operations) (any, error) { return o.Discover(t.Context()) })
	check("Bandwidth", func(o Operations) (any, error) {
		return o.Bandwidth(t.Context(), node.BandwidthOptions{Peer: "a/b ?&%", Size: 1 << 40})
	})
	check("Doctor", func(o Operations) (any, error) { return o.Doctor(t.Context()) })
	check("Scrub", func(o Operations) (any, error) {
		return o.Scrub(t.Context(), node.ScrubOptions{Transfer: "a/b ?&%"})
	})
	check("Audit", func(o Operations) (any, error) {
		return o.Audit(t.Context(), node.AuditOptions{Peer: "a/b ?&%", Count: 7})
	})
	check("Repair", func(o Operations) (any, error) {
		return o.Repair(t.Context(), node.RepairOptions{Transfer: "a/b ?&%", DryRun: true})
	})
	check("Receipts", func(o Operations) (any, error) { return o.Receipts(t.Context(), "a/b ?&%") })
	check("Stats", func(o Operations) (any, error) { return o.Stats(t.Context()) })
	check("Health", func(o Operations) (any, error) { return o.Health(t.Context(), false) })
	check("a quick Health", func(o Operations) (any, error) { return o.Health(t.Context(), true) })
	check("Metrics", func(o Operations) (any, error) { return o.Metrics(t.Context()) })
	check("Alive", func(o Operations) (any, error) { return nil, o.Alive(t.Context()) })
	check("Plan", func(o Operations) (any, error) { return o.Plan(t.Context(), node.PutOptions{Name: "a&b", Size: 5}) })
	check("BackupObjects", func(o Operations) (any, error) { return o.BackupObjects(t.Context(), true) })
	check("BackupObjects, not learnt", func(o Operations) (any, error) { return o.BackupObjects(t.Context(), false) })
	check("Gone", func(o Operations) (any, error) {
		ids := make([]datamesh.ObjectID, 4096) // more than would fit into a query
		for i := range ids {
			ids[i] = datamesh.ObjectID{30: byte(i >> 8), 31: byte(i)}
		}
		return o.Gone(t.Context(), ids)
	})
	check("Transfers", func(o Operations) (any, error) { return o.Transfers(t.Context(), "") })
	check("Transfers of an id", func(o Operations) (any, error) { return o.Transfers(t.Context(), "b") })
	check("CancelTransfer", func(o Operations) (any, error) { return nil, o.CancelTransfer(t.Context(), "b") })
	if err := ops.CancelTransfer(t.Context(), "c"); !errors.Is(err, errs.FileNotFound) {
		t.Errorf("CancelTransfer of what is none: %v", err)
	}
}

// listed returns what a list has.
func listed(t *testing.T, o Operations, options node.ListOptions) (all []node.Object, err error) {
	t.Helper()
	err = o.List(t.Context(), options, func(x node.Object) error { all = append(all, x); return nil })
	return all, err
}

// A list comes object by object, however many there are, and one that breaks off is
// not taken for a whole one.
func testList(t *testing.T, connect func(*testing.T, Operations) Operations) {
	fail := errs.WithHint(errs.New(errs.Database, "it is damaged"), "move it away")
	went := make(chan int, 1)
	ops := connect(t, &odd{list: func(_ context.Context, each func(node.Object) error) error {
		for i := range 100_000 {
			if err := each(node.Object{Name: strings.Repeat("n", 100), Size: int64(i), Tags: []string{}}); err != nil {
				went <- i
				return err
			}
		}
		went <- 100_000
		return fail
	}})
	n := 0
	var text bytes.Buffer
	_, err := WriteList(t.Context(), ops, node.ListOptions{}, &text)
	if got := strings.Count(text.String(), `"name":`); got != <-went || got != 100_000 || !errors.Is(err, errs.Database) || strings.HasSuffix(text.String(), listTail) {
		t.Errorf("%d objects were written: got %v", got, err)
	}
	err = ops.List(t.Context(), node.ListOptions{}, func(o node.Object) error {
		if o.Size != int64(n) {
			t.Fatalf("object %d comes as number %d", o.Size, n)
		}
		n++
		return nil
	})
	if n != <-went || !errors.Is(err, errs.Database) || errs.HintFor(err) != "move it away" {
		t.Errorf("after %d objects: got %v", n, err)
	}
	broken := errors.New("the terminal is gone")
	if err := ops.List(t.Context(), node.ListOptions{}, func(o node.Object) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("got %v, want the error of who listens", err)
	}
	if n := <-went; n == 100_000 {
		t.Error("all was listed for nobody")
	}
}

// The document of a list is the same whoever writes it, and no terminal obeys it.
func testListText(t *testing.T, connect func(*testing.T, Operations) Operations) {
	all := []node.Object{{Name: "a<b>&c", Tags: []string{"x"}}, {Name: "\x1b[2J\x7f\u009b31m\u00a0é", Tags: []string{}}}
	for n := range len(all) + 1 {
		ops := connect(t, &odd{list: func(_ context.Context, each func(node.Object) error) error {
			for _, x := range all[:n] {
				if err := each(x); err != nil {
					return err
				}
			}
			return nil
		}})
		var got bytes.Buffer
		if begun, err := WriteList(t.Context(), ops, node.ListOptions{}, &got); err != nil || begun != (n > 0) {
			t.Fatal(begun, err)
		}
		want, err := Text(struct {
			Objects []node.Object `json:"objects"`
		}{all[:n]})
		if err != nil || got.String() != string(want) {
			t.Errorf("got %q, want %q (%v)", got.String(), want, err)
		}
		if strings.ContainsAny(got.String(), "\x1b\x7f\u009b") || n > 0 && !strings.Contains(got.String(), "a<b>&c") {
			t.Errorf("got %q", got.String())
		}
	}
	var got bytes.Buffer
	ops := connect(t, &odd{list: func(context.Context, func(node.Object) error) error { return errs.New(errs.Database, "it is damaged") }})
	if begun, err := WriteList(t.Context(), ops, node.ListOptions{}, &got); begun || !errors.Is(err, errs.Database) || got.Len() > 0 {
		t.Errorf("wrote %q: got %v, %v", got.String(), begun, err)
	}
}

func testContent(t *testing.T, connect func(*testing.T, Operations) Operations) {
	m := new(memory)
	ops := connect(t, m)
	random := rand.NewChaCha8([32]byte{1})
	options := node.PutOptions{
		Name: strings.Repeat("ÿ\n", 1365), Tags: []string{"", "a,b", "\x00"}, Code: "4+2", MinSurvives: new(int),
		To: make([]string, 40), Mode: 0o640, ModTime: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
	}
	for i := range options.To {
		options.To[i] = strings.Repeat("r", 1959) // as long as a hybrid recipient
	}
	for _, size := range []int{0, 1, 4096, 64<<10 + 1, 9<<20 + 7} {
		content := make([]byte, size)
		random.Read(content)
		put, err := ops.Put(t.Context(), bytes.NewReader(content), options)
		if err != nil {
			t.Fatalf("put of %d bytes: %v", size, err)
		}
		if diff := cmp.Diff(options, m.objects[len(m.objects)-1].options); diff != "" {
			t.Errorf("options (-want +got):\n%s", diff)
		}
		var info node.ObjectInfo
		var got bytes.Buffer
		fetched, err := ops.Get(t.Context(), put.ID.String(), node.GetOptions{}, func(i node.ObjectInfo) (io.Writer, error) {
			info = i
			return &got, nil
		})
		if err != nil || !bytes.Equal(got.Bytes(), content) {
			t.Errorf("get of %d bytes: %v, %d bytes that may be wrong", size, err, got.Len())
		}
		got.Reset()
		half := int64(size / 2)
		resume := node.GetOptions{Resume: &node.Resume{ID: put.ID, From: half}}
		_, err = ops.Get(t.Context(), put.ID.String(), resume, func(i node.ObjectInfo) (io.Writer, error) {
			if i.From != half {
				t.Errorf("it begins at %d, want %d", i.From, half)
			}
			return &got, nil
		})
		if err != nil || !bytes.Equal(got.Bytes(), content[half:]) {
			t.Errorf("get of %d bytes from %d: %v, %d bytes that may be wrong", size, half, err, got.Len())
		}
		got.Reset()
		part := node.Range{Offset: half / 2, Length: half}
		ranged, err := ops.Get(t.Context(), put.ID.String(), node.GetOptions{Range: &part}, func(i node.ObjectInfo) (io.Writer, error) { return &got, nil })
		if err != nil || !bytes.Equal(got.Bytes(), content[half/2:half/2+half]) || ranged.Range == nil || *ranged.Range != part {
			t.Errorf("get of %+v: %+v, %v, %d bytes that may be wrong", part, ranged, err, got.Len())
		}
		want := node.ObjectInfo{ID: put.ID, Name: options.Name, Size: int64(size), Mode: options.Mode, ModTime: options.ModTime}
		if diff := cmp.Diff(want, info); diff != "" {
			t.Errorf("info (-want +got):\n%s", diff)
		}
		if fetched == nil || fetched.Size != int64(size) || len(fetched.Bad) != 1 {
			t.Errorf("get of %d bytes: got %+v", size, fetched)
		}
	}
}

func testErrors(t *testing.T, connect func(*testing.T, Operations) Operations) {
	var fail error
	ops := connect(t, &odd{
		list: func(context.Context, func(node.Object) error) error { return fail },
		put: func(_ context.Context, r io.Reader) (*node.Stored, error) {
			io.Copy(io.Discard, r)
			return nil, fail
		},
		get: func(context.Context, func(node.ObjectInfo) (io.Writer, error)) (*node.Fetched, error) {
			return nil, fail
		},
	})
	for kind := errs.Other; kind.Name() != errs.Other.Name() || kind == errs.Other; kind++ {
		fail = errs.New(kind, "it is \"so\"\nand ÿ")
		if kind%2 == 0 {
			fail = errs.WithHint(fail, "type this")
		}
		check := func(op string, err error) {
			if !errors.Is(err, kind) || errs.KindOf(err) != kind || err.Error() != fail.Error() || errs.HintFor(err) != errs.HintFor(fail) {
				t.Errorf("%s: got %v (%s, hint %q), want %v (%s, hint %q)", op, err, errs.KindOf(err).Name(), errs.HintFor(err), fail, kind.Name(), errs.HintFor(fail))
			}
		}
		_, err := listed(t, ops, node.ListOptions{})
		check("List", err)
		_, err = ops.Put(t.Context(), strings.NewReader("content"), node.PutOptions{})
		check("Put", err)
		_, err = ops.Get(t.Context(), "a", node.GetOptions{}, func(node.ObjectInfo) (io.Writer, error) { panic("opened") })
		check("Get", err)
	}
}

func testBrokenReader(t *testing.T, connect func(*testing.T, Operations) Operations) {
	broken := errors.New("the disk is gone")
	seen := make(chan error, 1)
	ops := connect(t, &odd{put: func(_ context.Context, r io.Reader) (*node.Stored, error) {
		_, err := io.Copy(io.Discard, r)
		seen <- err
		if err != nil {
			return nil, errs.New(errs.IO, "put: %w", err)
		}
		return &node.Stored{}, nil
	}})
	for _, size := range []int{0, 1, 5 << 20} {
		r := io.MultiReader(strings.NewReader(strings.Repeat("x", size)), failing{broken})
		if _, err := ops.Put(t.Context(), r, node.PutOptions{}); !errors.Is(err, broken) {
			t.Errorf("after %d bytes: got %v, want the reader's error", size, err)
		}
		if err := <-seen; err == nil {
			t.Errorf("after %d bytes: the node saw the end of the content, want an error", size)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error)  { return 0, f.err }
func (f failing) Write([]byte) (int, error) { return 0, f.err }

func testEarlyRefusal(t *testing.T, connect func(*testing.T, Operations) Operations) {
	ops := connect(t, &odd{put: func(_ context.Context, r io.Reader) (*node.Stored, error) {
		io.ReadFull(r, make([]byte, 1000))
		return nil, errs.New(errs.Full, "no room")
	}})
	r, w := io.Pipe() // of which nothing comes after the first bytes
	defer w.Close()
	go w.Write(make([]byte, 1000))
	if _, err := ops.Put(t.Context(), r, node.PutOptions{}); !errors.Is(err, errs.Full) {
		t.Errorf("a reader that blocks: got %v, want Full", err)
	}
	if _, err := ops.Put(t.Context(), endless{}, node.PutOptions{}); !errors.Is(err, errs.Full) {
		t.Errorf("a reader that never ends: got %v, want Full", err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func testBrokenGet(t *testing.T, connect func(*testing.T, Operations) Operations) {
	ops := connect(t, &odd{get: func(_ context.Context, open func(node.ObjectInfo) (io.Writer, error)) (*node.Fetched, error) {
		w, err := open(node.ObjectInfo{ID: datamesh.ObjectID{1}, Size: 1 << 30})
		if err != nil {
			return nil, err
		}
		for range 100 {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return nil, err
			}
		}
		return nil, errs.WithHint(errs.New(errs.Unavailable, "3 of 4 shards"), "wait")
	}})
	n := 0
	_, err := ops.Get(t.Context(), "a", node.GetOptions{}, func(node.ObjectInfo) (io.Writer, error) { return counter{&n}, nil })
	if !errors.Is(err, errs.Unavailable) || err.Error() != "3 of 4 shards" || errs.HintFor(err) != "wait" || n != 100*64<<10 {
		t.Errorf("an error after %d bytes: got %v, want Unavailable after %d", n, err, 100*64<<10)
	}
	broken := errors.New("the disk is full")
	if _, err := ops.Get(t.Context(), "a", node.GetOptions{}, func(node.ObjectInfo) (io.Writer, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("open fails: got %v, want its error", err)
	}
	if _, err := ops.Get(t.Context(), "a", node.GetOptions{}, func(node.ObjectInfo) (io.Writer, error) { return failing{broken}, nil }); !errors.Is(err, broken) {
		t.Errorf("the writer fails: got %v, want its error", err)
	}
}

type counter struct{ n *int }

func (c counter) Write(p []byte) (int, error) { *c.n += len(p); return len(p), nil }

func testCancel(t *testing.T, connect func(*testing.T, Operations) Operations) {
	begun, ended := make(chan struct{}), make(chan error, 1)
	wait := func(ctx context.Context) error {
		begun <- struct{}{}
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}
	ops := connect(t, &odd{
		list: func(ctx context.Context, _ func(node.Object) error) error { return wait(ctx) },
		put:  func(ctx context.Context, _ io.Reader) (*node.Stored, error) { return nil, wait(ctx) }, // the content is not read
		get: func(ctx context.Context, open func(node.ObjectInfo) (io.Writer, error)) (*node.Fetched, error) {
			open(node.ObjectInfo{})
			return nil, wait(ctx)
		},
	})
	for name, call := range map[string]func(context.Context) error{
		"List": func(ctx context.Context) error {
			return ops.List(ctx, node.ListOptions{}, func(node.Object) error { return nil })
		},
		"Put": func(ctx context.Context) error { _, err := ops.Put(ctx, endless{}, node.PutOptions{}); return err },
		"Get": func(ctx context.Context) error {
			_, err := ops.Get(ctx, "a", node.GetOptions{}, func(node.ObjectInfo) (io.Writer, error) { return io.Discard, nil })
			return err
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() { result <- call(ctx) }()
		<-begun
		cancel()
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want context.Canceled", name, err)
		}
		if err := <-ended; err == nil {
			t.Errorf("%s: the node's context did not end", name)
		}
	}
}

func TestAllIsNotTakenForAPart(t *testing.T) {
	ops := overSocket(t, earlier{&memory{}})
	put, err := ops.Put(t.Context(), strings.NewReader("all of it"), node.PutOptions{Size: 9})
	if err != nil {
		t.Fatal(err)
	}
	part := node.GetOptions{Range: &node.Range{Offset: 2, Length: 3}}
	_, err = ops.Get(t.Context(), put.ID.String(), part, func(node.ObjectInfo) (io.Writer, error) { return io.Discard, nil })
	if !errors.Is(err, errs.Invalid) {
		t.Errorf("a part of a node that knows none: %v", err)
	}
}
