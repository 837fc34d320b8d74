package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/node"
)

// grace is how long requests that are under way may take when a server stops.
const grace = 10 * time.Second

// Serve answers requests on ln with ops until ctx ends. Then it takes no new
// ones, gives those under way a few seconds, cancels what is left, and returns
// nil when all have ended. It closes ln. Kind of its error: IO.
func Serve(ctx context.Context, ln net.Listener, ops Operations) error {
	return serve(ctx, ln, ops, grace)
}

func serve(ctx context.Context, ln net.Listener, ops Operations, grace time.Duration) error {
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var requests gate
	server := &http.Server{
		Handler:           requests.guard(routes(ops)),
		BaseContext:       func(net.Listener) context.Context { return running },
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		Protocols:         new(http.Protocols),
		HTTP2:             &http.HTTP2Config{MaxReadFrameSize: 1 << 20, MaxReceiveBufferPerStream: 4 << 20, MaxReceiveBufferPerConnection: 16 << 20},
	}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)

	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		ctx, done := context.WithTimeout(running, grace)
		defer done()
		server.Shutdown(ctx) // its error is that grace is over
	})
	err := server.Serve(ln)
	if !stop() {
		<-stopped
	}
	cancel()
	server.Close()
	requests.close()
	if !errors.Is(err, http.ErrServerClosed) {
		return errs.New(errs.IO, "serve the local API on %v: %w", ln.Addr(), err)
	}
	return nil
}

// A gate counts the handlers that are running: net/http does not wait for
// them when it closes.
type gate struct {
	mu     sync.Mutex // guards closed, and inside from growing once it is set
	closed bool
	inside sync.WaitGroup
}

// guard counts the requests that h serves. Once the gate is closed they are
// refused.
func (g *gate) guard(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !g.enter() {
			refuse(w, r, errs.New(errs.NoNode, "the node has stopped"))
			return
		}
		defer g.leave()
		h.ServeHTTP(w, r)
	})
}

func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.inside.Add(1)
	}
	return !g.closed
}

func (g *gate) leave() { g.inside.Done() }

// close lets nobody in any more and waits until all have left.
func (g *gate) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.inside.Wait()
}

func routes(ops Operations) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+identityPath, answer(func(r *http.Request) (node.Identity, error) { return ops.Identity(r.Context()) }))
	mux.Handle("GET "+objectsPath, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { list(ops, w, r) }))
	mux.Handle("GET "+versionsPath, answer(func(r *http.Request) (*node.Versions, error) { return ops.Versions(r.Context(), ref(r)) }))
	mux.Handle("POST "+renamePath, change(ops.Rename))
	mux.Handle("POST "+copyPath, change(ops.Copy))
	mux.Handle("POST "+tagPath, change(ops.Tag))
	mux.Handle("POST "+pinPath, change(ops.Pin))
	mux.Handle("POST "+objectsPath, answer(func(r *http.Request) (*node.Stored, error) { return put(ops, r) }))
	mux.Handle("DELETE "+objectsPath, answer(func(r *http.Request) (*node.Removed, error) { return remove(ops, r) }))
	mux.Handle("GET "+deletedPath, answer(func(r *http.Request) (*node.DeletedObjects, error) { return ops.Deleted(r.Context()) }))
	mux.Handle("POST "+publishPath, answer(func(r *http.Request) (*node.Published, error) { return ops.Publish(r.Context()) }))
	mux.Handle("POST "+hearPath, answer(func(r *http.Request) (*node.Heard, error) { return ops.Hear(r.Context()) }))
	mux.Handle("DELETE "+deletedPath, answer(func(r *http.Request) (*node.Undeleted, error) { return ops.Undelete(r.Context(), ref(r)) }))
	mux.Handle("GET "+contentPath, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { get(ops, w, r) }))
	mux.Handle("GET "+checkPath, answer(func(r *http.Request) (*node.Checked, error) { return ops.Check(r.Context(), ref(r)) }))
	mux.Handle("GET "+infoPath, answer(func(r *http.Request) (*node.Info, error) { return info(ops, r) }))
	mux.Handle("GET "+peersPath, answer(func(r *http.Request) (*node.Peers, error) { return ops.Peers(r.Context()) }))
	mux.Handle("GET "+statsPath, answer(func(r *http.Request) (*node.Stats, error) { return ops.Stats(r.Context()) }))
	mux.Handle("GET "+healthPath, answer(func(r *http.Request) (*node.Health, error) { return health(ops, r) }))
	mux.Handle("GET "+metricsPath, answer(func(r *http.Request) (*node.Metrics, error) { return ops.Metrics(r.Context()) }))
	mux.Handle("GET "+alivePath, answer(func(r *http.Request) (struct{}, error) { return struct{}{}, ops.Alive(r.Context()) }))
	mux.Handle("GET "+planPath, answer(func(r *http.Request) (*node.Planned, error) { return plan(ops, r) }))
	mux.Handle("GET "+transfersPath, answer(func(r *http.Request) (*node.Transfers, error) { return ops.Transfers(r.Context(), id(r)) }))
	mux.Handle("DELETE "+transfersPath, answer(func(r *http.Request) (struct{}, error) { return struct{}{}, ops.CancelTransfer(r.Context(), id(r)) }))
	mux.Handle("POST "+discoverPath, answer(func(r *http.Request) (*node.Discovered, error) { return ops.Discover(r.Context()) }))
	mux.Handle("POST "+bandwidthPath, answer(func(r *http.Request) (*node.Bandwidth, error) { return bandwidth(ops, r) }))
	mux.Handle("POST "+doctorPath, answer(func(r *http.Request) (*node.Diagnosis, error) { return ops.Doctor(r.Context()) }))
	mux.Handle("POST "+scrubPath, answer(func(r *http.Request) (*node.Scrubbed, error) { return scrub(ops, r) }))
	mux.Handle("POST "+auditPath, answer(func(r *http.Request) (*node.Audited, error) { return audit(ops, r) }))
	mux.Handle("POST "+repairPath, answer(func(r *http.Request) (*node.Repaired, error) { return repair(ops, r) }))
	mux.Handle("POST "+cleanupPath, answer(func(r *http.Request) (*node.Cleaned, error) { return cleanup(ops, r) }))
	mux.Handle("GET "+receiptsPath, answer(func(r *http.Request) (*node.Receipts, error) { return ops.Receipts(r.Context(), ref(r)) }))
	mux.Handle("GET "+contactsPath, answer(func(r *http.Request) (*node.Contacts, error) { return ops.Contacts(r.Context()) }))
	mux.Handle("POST "+contactsPath, answer(func(r *http.Request) (*node.Contact, error) {
		return ops.AddContact(r.Context(), r.URL.Query().Get("name"), r.URL.Query().Get("address"))
	}))
	mux.Handle("DELETE "+contactsPath, answer(func(r *http.Request) (*node.Contact, error) {
		return ops.RemoveContact(r.Context(), r.URL.Query().Get("name"))
	}))
	mux.Handle("GET "+sharesPath, answer(func(r *http.Request) (*node.Shares, error) { return ops.Shares(r.Context()) }))
	mux.Handle("POST "+sharesPath, answer(func(r *http.Request) (*node.Share, error) { return share(ops, r) }))
	mux.Handle("DELETE "+sharesPath, answer(func(r *http.Request) (*node.Unshared, error) { return unshare(ops, r) }))
	mux.Handle("GET "+inboxPath, answer(func(r *http.Request) (*node.Inbox, error) { return ops.Inbox(r.Context()) }))
	mux.Handle("GET "+backupsPath, answer(func(r *http.Request) (*node.BackupObjects, error) { return backups(ops, r) }))
	mux.Handle("POST "+gonePath, answer(func(r *http.Request) (*node.Gone, error) { return gone(ops, r) }))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, r, errs.New(errs.Invalid, "the local API has no %s %s", r.Method, r.URL.Path))
	})
	return mux
}

func ref(r *http.Request) string { return r.URL.Query().Get("ref") }

func id(r *http.Request) string { return r.URL.Query().Get("id") }

// options reads the options of an operation, if there are any.
func options(r *http.Request, o any) error {
	text := r.URL.Query().Get("options")
	if text == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(text), o); err != nil {
		return errs.New(errs.Invalid, "options: %w", err)
	}
	return nil
}

// answer serves an operation whose result is one JSON document.
func answer[T any](op func(*http.Request) (T, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		result, err := op(r)
		if err != nil {
			refuse(w, r, err)
			return
		}
		w.Header().Set("Content-Type", jsonType)
		json.NewEncoder(w).Encode(result) // if this fails nobody listens
	})
}

// change serves an operation that takes nothing but options.
func change[O, T any](op func(context.Context, O) (*T, error)) http.Handler {
	return answer(func(r *http.Request) (*T, error) {
		var o O
		if err := options(r, &o); err != nil {
			return nil, err
		}
		return op(r.Context(), o)
	})
}

// list writes a document of objects one by one.
func list(ops Operations, w http.ResponseWriter, r *http.Request) {
	var o node.ListOptions
	if err := options(r, &o); err != nil {
		refuse(w, r, err)
		return
	}
	w.Header().Set("Content-Type", jsonType)
	w.Header().Set("Trailer", problemTrailer)
	begun, err := WriteList(r.Context(), ops, o, w)
	switch {
	case err == nil:
	case !begun:
		w.Header().Del("Trailer")
		refuse(w, r, err)
	case r.ProtoMajor < 2:
		panic(http.ErrAbortHandler) // whoever speaks HTTP/1.1 may not look at trailers
	default:
		if trailer, failed := toHeader(ProblemOf(explain(r, err))); failed == nil {
			w.Header().Set(problemTrailer, trailer)
		}
	}
}

// explain returns the error to tell the user of a request: one that was
// cancelled and still has a user is one of a node that stops.
func explain(r *http.Request, err error) error {
	if r.Context().Err() != nil && errors.Is(err, context.Canceled) {
		return errs.WithHint(errs.New(errs.NoNode, "the node stopped before it was done"), "start it again and try again")
	}
	return err
}

// refuse answers with an error.
func refuse(w http.ResponseWriter, r *http.Request, err error) {
	err = explain(r, err)
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(errs.HTTPStatus(err))
	json.NewEncoder(w).Encode(ProblemOf(err)) // if this fails nobody listens
}

func put(ops Operations, r *http.Request) (*node.Stored, error) {
	var o node.PutOptions
	if err := options(r, &o); err != nil {
		return nil, err
	}
	return ops.Put(r.Context(), r.Body, o)
}

func remove(ops Operations, r *http.Request) (*node.Removed, error) {
	var o node.DeleteOptions
	if err := options(r, &o); err != nil {
		return nil, err
	}
	return ops.Delete(r.Context(), ref(r), o)
}

func cleanup(ops Operations, r *http.Request) (*node.Cleaned, error) {
	var o node.CleanupOptions
	if err := options(r, &o); err != nil {
		return nil, err
	}
	return ops.Cleanup(r.Context(), o)
}

func share(ops Operations, r *http.Request) (*node.Share, error) {
	var o node.ShareOptions
	if err := options(r, &o); err != nil {
		return nil, err
	}
	return ops.Share(r.Context(), ref(r), o)
}

func unshare(ops Operations, r *http.Request) (*node.Unshared, error) {
	var o node.UnshareOptions
	if err := options(r, &o); err != nil {
		return nil, err
	}
	return ops.Unshare(r.Context(), ref(r), o)
}

func info(ops Operations, r *http.Request) (*node.Info, error) {
	prove, err := boolean(r, "prove")
	if err != nil {
		return nil, err
	}
	return ops.Info(r.Context(), ref(r), prove)
}

func health(ops Operations, r *http.Request) (*node.Health, error) {
	quick, err := boolean(r, "quick")
	if err != nil {
		return nil, err
	}
	return ops.Health(r.Context(), quick)
}

// boolean reads a query parameter that is false unless it is there.
func boolean(r *http.Request, name string) (bool, error) {
	x, err := strconv.ParseBool(cmp.Or(r.URL.Query().Get(name), "false"))
	if err != nil {
		return false, errs.New(errs.Invalid, "%s: %w", name, err)
	}
	return x, nil
}

func plan(ops Operations, r *http.Request) (*node.Planned, error) {
	var o node.PutOptions
	if err := options(r, &o); err != nil {
		return nil, err
	}
	return ops.Plan(r.Context(), o)
}

func scrub(ops Operations, r *http.Request) (*node.Scrubbed, error) {
	var o node.ScrubOptions
	if err := options(r, &o); err != nil {
		return nil, err
	}
	return ops.Scrub(r.Context(), o)
}

func audit(ops Operations, r *http.Request) (*node.Audited, error) {
	var o node.AuditOptions
	if err := options(r, &o); err != nil {
		return nil, err
	}
	return ops.Audit(r.Context(), o)
}

func repair(ops Operations, r *http.Request) (*node.Repaired, error) {
	var o node.RepairOptions
	if err := options(r, &o); err != nil {
		return nil, err
	}
	return ops.Repair(r.Context(), o)
}

func backups(ops Operations, r *http.Request) (*node.BackupObjects, error) {
	learn, err := boolean(r, "learn")
	if err != nil {
		return nil, err
	}
	return ops.BackupObjects(r.Context(), learn)
}

// maxIDs bounds the bytes of a list of ids.
const maxIDs = 16 << 20

func gone(ops Operations, r *http.Request) (*node.Gone, error) {
	var ids []datamesh.ObjectID
	if err := json.NewDecoder(io.LimitReader(r.Body, maxIDs)).Decode(&ids); err != nil {
		return nil, errs.New(errs.Invalid, "ids: %w", err)
	}
	return ops.Gone(r.Context(), ids)
}

func bandwidth(ops Operations, r *http.Request) (*node.Bandwidth, error) {
	query := r.URL.Query()
	size, err := strconv.ParseInt(query.Get("size"), 10, 64)
	if err != nil {
		return nil, errs.New(errs.Invalid, "size of bandwidth: %w", err)
	}
	return ops.Bandwidth(r.Context(), node.BandwidthOptions{Peer: query.Get("peer"), Size: size})
}

func get(ops Operations, w http.ResponseWriter, r *http.Request) {
	var o node.GetOptions
	if err := options(r, &o); err != nil {
		refuse(w, r, err)
		return
	}
	opened := false
	fetched, err := ops.Get(r.Context(), ref(r), o, func(info node.ObjectInfo) (io.Writer, error) {
		object, err := toHeader(info)
		if err != nil {
			return nil, errs.New(errs.Serialization, "object %v: %w", info.ID, err)
		}
		h := w.Header()
		h.Set("Content-Type", contentType)
		h.Set("Trailer", fmt.Sprintf("%s, %s", fetchedTrailer, problemTrailer))
		h.Set(objectHeader, object)
		opened = true
		return w, http.NewResponseController(w).Flush()
	})
	if !opened {
		if err == nil {
			err = errs.New(errs.Other, "get ended before it began")
		}
		refuse(w, r, err)
		return
	}
	if err != nil && r.ProtoMajor < 2 {
		panic(http.ErrAbortHandler) // whoever speaks HTTP/1.1 may not look at trailers
	}
	name, end := fetchedTrailer, any(fetched)
	if err != nil {
		name, end = problemTrailer, ProblemOf(explain(r, err))
	}
	if trailer, err := toHeader(end); err == nil { // without a trailer the content is not whole
		w.Header().Set(name, trailer)
	}
}
