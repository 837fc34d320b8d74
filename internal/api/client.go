package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"sync"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/node"
)

// A Client has the operations of the node that serves a socket. When the node
// goes away the kind of its errors is NoNode. It is safe for concurrent use.
type Client struct {
	socket string
	http   *http.Client
}

var _ Operations = (*Client)(nil)

// Dial returns a client of the node that listens on socket. The client has to
// be closed. Kinds: NoNode (there is none), Authentication (the socket may be
// another user's), IO.
func Dial(ctx context.Context, socket string) (*Client, error) {
	inHome := filepath.Base(socket) == "api.sock" // others have other names: in /tmp anybody may have made the directory
	if err := checkPrivate(filepath.Dir(socket), inHome); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, errs.New(errs.NoNode, "no node is running: there is no %s", socket)
		}
		return nil, err
	}
	conn, err := connect(ctx, socket)
	if err != nil {
		return nil, err
	}
	conn.Close()
	transport := &http.Transport{
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return connect(ctx, socket) },
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeader,
		Protocols:              new(http.Protocols),
		HTTP2:                  &http.HTTP2Config{MaxReadFrameSize: 1 << 20, MaxReceiveBufferPerStream: 4 << 20, MaxReceiveBufferPerConnection: 16 << 20},
	}
	transport.Protocols.SetUnencryptedHTTP2(true)
	return &Client{socket: socket, http: &http.Client{Transport: transport}}, nil
}

// buffers are what content is copied by: a range is often smaller than one.
var buffers = sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}

func connect(ctx context.Context, socket string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	switch {
	case err == nil:
		return conn, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, fs.ErrNotExist), errs.IsRefused(err):
		return nil, errs.New(errs.NoNode, "no node is running: nothing listens on %s", socket)
	}
	return nil, errs.New(errs.IO, "connect to the node: %w", err)
}

// Close lets go of the connection. Operations under way are not interrupted.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) Identity(ctx context.Context) (node.Identity, error) {
	id, err := ask[node.Identity](ctx, c, "GET", identityPath, nil, nil)
	if err != nil {
		return node.Identity{}, err
	}
	return *id, nil
}

func (c *Client) List(ctx context.Context, o node.ListOptions, each func(node.Object) error) error {
	query, err := withOptions(o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // which tells the node when this ends early
	resp, err := c.do(ctx, "GET", objectsPath, query, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var failed error // of each
	err = elements(resp.Body, func(o node.Object) error {
		failed = each(o)
		return failed
	})
	if err == nil || failed != nil {
		return failed
	}
	if s := resp.Trailer.Get(problemTrailer); s != "" {
		var p Problem
		if err := fromHeader(s, &p); err != nil {
			return c.broken(ctx, err)
		}
		return p.Err()
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return c.broken(ctx, err)
}

// elements reads a document that has one array, element by element, to its end.
func elements[T any](r io.Reader, each func(T) error) error {
	d := json.NewDecoder(r)
	for range 3 { // {, the name of the array, [
		if _, err := d.Token(); err != nil {
			return err
		}
	}
	for d.More() {
		var x T
		if err := d.Decode(&x); err != nil {
			return err
		}
		if err := each(x); err != nil {
			return err
		}
	}
	for range 2 { // ], }
		if _, err := d.Token(); err != nil {
			return err
		}
	}
	return nil
}

func (c *Client) Versions(ctx context.Context, name string) (*node.Versions, error) {
	return ask[node.Versions](ctx, c, "GET", versionsPath, url.Values{"ref": {name}}, nil)
}

func (c *Client) Rename(ctx context.Context, o node.RenameOptions) (*node.Renamed, error) {
	return post[node.Renamed](ctx, c, renamePath, o)
}

func (c *Client) Copy(ctx context.Context, o node.CopyOptions) (*node.Copied, error) {
	return post[node.Copied](ctx, c, copyPath, o)
}

func (c *Client) Tag(ctx context.Context, o node.TagOptions) (*node.Tagged, error) {
	return post[node.Tagged](ctx, c, tagPath, o)
}

func (c *Client) Pin(ctx context.Context, o node.PinOptions) (*node.Pinned, error) {
	return post[node.Pinned](ctx, c, pinPath, o)
}

// post performs an operation that takes nothing but options.
func post[T any](ctx context.Context, c *Client, path string, o any) (*T, error) {
	query, err := withOptions(o)
	if err != nil {
		return nil, err
	}
	return ask[T](ctx, c, "POST", path, query, nil)
}

func (c *Client) Delete(ctx context.Context, ref string, o node.DeleteOptions) (*node.Removed, error) {
	query, err := withOptions(o)
	if err != nil {
		return nil, err
	}
	query.Set("ref", ref)
	return ask[node.Removed](ctx, c, "DELETE", objectsPath, query, nil)
}

func (c *Client) Publish(ctx context.Context) (*node.Published, error) {
	return ask[node.Published](ctx, c, "POST", publishPath, nil, nil)
}

func (c *Client) Hear(ctx context.Context) (*node.Heard, error) {
	return ask[node.Heard](ctx, c, "POST", hearPath, nil, nil)
}

func (c *Client) Undelete(ctx context.Context, ref string) (*node.Undeleted, error) {
	return ask[node.Undeleted](ctx, c, "DELETE", deletedPath, url.Values{"ref": {ref}}, nil)
}

func (c *Client) Deleted(ctx context.Context) (*node.DeletedObjects, error) {
	return ask[node.DeletedObjects](ctx, c, "GET", deletedPath, nil, nil)
}

func (c *Client) Cleanup(ctx context.Context, o node.CleanupOptions) (*node.Cleaned, error) {
	query, err := withOptions(o)
	if err != nil {
		return nil, err
	}
	return ask[node.Cleaned](ctx, c, "POST", cleanupPath, query, nil)
}

func (c *Client) Contacts(ctx context.Context) (*node.Contacts, error) {
	return ask[node.Contacts](ctx, c, "GET", contactsPath, nil, nil)
}

func (c *Client) AddContact(ctx context.Context, name, address string) (*node.Contact, error) {
	return ask[node.Contact](ctx, c, "POST", contactsPath, url.Values{"name": {name}, "address": {address}}, nil)
}

func (c *Client) RemoveContact(ctx context.Context, name string) (*node.Contact, error) {
	return ask[node.Contact](ctx, c, "DELETE", contactsPath, url.Values{"name": {name}}, nil)
}

func (c *Client) Share(ctx context.Context, ref string, o node.ShareOptions) (*node.Share, error) {
	query, err := withOptions(o)
	if err != nil {
		return nil, err
	}
	query.Set("ref", ref)
	return ask[node.Share](ctx, c, "POST", sharesPath, query, nil)
}

func (c *Client) Shares(ctx context.Context) (*node.Shares, error) {
	return ask[node.Shares](ctx, c, "GET", sharesPath, nil, nil)
}

func (c *Client) Unshare(ctx context.Context, ref string, o node.UnshareOptions) (*node.Unshared, error) {
	query, err := withOptions(o)
	if err != nil {
		return nil, err
	}
	query.Set("ref", ref)
	return ask[node.Unshared](ctx, c, "DELETE", sharesPath, query, nil)
}

func (c *Client) Inbox(ctx context.Context) (*node.Inbox, error) {
	return ask[node.Inbox](ctx, c, "GET", inboxPath, nil, nil)
}

func (c *Client) Check(ctx context.Context, ref string) (*node.Checked, error) {
	return ask[node.Checked](ctx, c, "GET", checkPath, url.Values{"ref": {ref}}, nil)
}

func (c *Client) Info(ctx context.Context, ref string, prove bool) (*node.Info, error) {
	return ask[node.Info](ctx, c, "GET", infoPath, url.Values{"ref": {ref}, "prove": {strconv.FormatBool(prove)}}, nil)
}

func (c *Client) Peers(ctx context.Context) (*node.Peers, error) {
	return ask[node.Peers](ctx, c, "GET", peersPath, nil, nil)
}

func (c *Client) Discover(ctx context.Context) (*node.Discovered, error) {
	return ask[node.Discovered](ctx, c, "POST", discoverPath, nil, nil)
}

func (c *Client) Bandwidth(ctx context.Context, o node.BandwidthOptions) (*node.Bandwidth, error) {
	query := url.Values{"peer": {o.Peer}, "size": {strconv.FormatInt(o.Size, 10)}}
	return ask[node.Bandwidth](ctx, c, "POST", bandwidthPath, query, nil)
}

func (c *Client) Doctor(ctx context.Context) (*node.Diagnosis, error) {
	return ask[node.Diagnosis](ctx, c, "POST", doctorPath, nil, nil)
}

func (c *Client) Scrub(ctx context.Context, o node.ScrubOptions) (*node.Scrubbed, error) {
	query, err := withOptions(o)
	if err != nil {
		return nil, err
	}
	return ask[node.Scrubbed](ctx, c, "POST", scrubPath, query, nil)
}

func (c *Client) Receipts(ctx context.Context, ref string) (*node.Receipts, error) {
	return ask[node.Receipts](ctx, c, "GET", receiptsPath, url.Values{"ref": {ref}}, nil)
}

func (c *Client) Audit(ctx context.Context, o node.AuditOptions) (*node.Audited, error) {
	query, err := withOptions(o)
	if err != nil {
		return nil, err
	}
	return ask[node.Audited](ctx, c, "POST", auditPath, query, nil)
}

func (c *Client) Repair(ctx context.Context, o node.RepairOptions) (*node.Repaired, error) {
	query, err := withOptions(o)
	if err != nil {
		return nil, err
	}
	return ask[node.Repaired](ctx, c, "POST", repairPath, query, nil)
}

func (c *Client) Stats(ctx context.Context) (*node.Stats, error) {
	return ask[node.Stats](ctx, c, "GET", statsPath, nil, nil)
}

func (c *Client) Health(ctx context.Context, quick bool) (*node.Health, error) {
	return ask[node.Health](ctx, c, "GET", healthPath, url.Values{"quick": {strconv.FormatBool(quick)}}, nil)
}

func (c *Client) Metrics(ctx context.Context) (*node.Metrics, error) {
	return ask[node.Metrics](ctx, c, "GET", metricsPath, nil, nil)
}

func (c *Client) Alive(ctx context.Context) error {
	_, err := ask[struct{}](ctx, c, "GET", alivePath, nil, nil)
	return err
}

func (c *Client) Plan(ctx context.Context, o node.PutOptions) (*node.Planned, error) {
	query, err := withOptions(o)
	if err != nil {
		return nil, err
	}
	return ask[node.Planned](ctx, c, "GET", planPath, query, nil)
}

func (c *Client) Transfers(ctx context.Context, id string) (*node.Transfers, error) {
	return ask[node.Transfers](ctx, c, "GET", transfersPath, url.Values{"id": {id}}, nil)
}

func (c *Client) CancelTransfer(ctx context.Context, id string) error {
	_, err := ask[struct{}](ctx, c, "DELETE", transfersPath, url.Values{"id": {id}}, nil)
	return err
}

func (c *Client) BackupObjects(ctx context.Context, learn bool) (*node.BackupObjects, error) {
	return ask[node.BackupObjects](ctx, c, "GET", backupsPath, url.Values{"learn": {strconv.FormatBool(learn)}}, nil)
}

func (c *Client) Gone(ctx context.Context, ids []datamesh.ObjectID) (*node.Gone, error) {
	body, err := json.Marshal(ids)
	if err != nil {
		return nil, errs.New(errs.Invalid, "ids: %w", err)
	}
	return ask[node.Gone](ctx, c, "POST", gonePath, nil, bytes.NewReader(body))
}

// withOptions returns a query with the options of an operation.
func withOptions(o any) (url.Values, error) {
	b, err := json.Marshal(o)
	if err != nil {
		return nil, errs.New(errs.Invalid, "options: %w", err)
	}
	return url.Values{"options": {string(b)}}, nil
}

func (c *Client) Put(ctx context.Context, r io.Reader, o node.PutOptions) (*node.Stored, error) {
	query, err := withOptions(o)
	if err != nil {
		return nil, err
	}
	source := &source{r: r}
	body, feed := io.Pipe()
	defer body.Close()
	go func() { // it ends when r does, or with the first Read after body is closed
		buf := buffers.Get().(*[]byte)
		_, err := io.CopyBuffer(feed, source, *buf)
		buffers.Put(buf)
		feed.CloseWithError(err)
	}()
	stored, err := ask[node.Stored](ctx, c, "POST", objectsPath, query, body)
	if cause := source.failure(); err != nil && cause != nil {
		return nil, cause
	}
	return stored, err
}

func (c *Client) Get(ctx context.Context, ref string, o node.GetOptions, open func(node.ObjectInfo) (io.Writer, error)) (*node.Fetched, error) {
	query, err := withOptions(o)
	if err != nil {
		return nil, err
	}
	query.Set("ref", ref)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // which tells the node when this ends early
	resp, err := c.do(ctx, "GET", contentPath, query, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var info node.ObjectInfo
	if err := fromHeader(resp.Header.Get(objectHeader), &info); err != nil {
		return nil, c.broken(ctx, err)
	}
	w, err := open(info)
	if err != nil {
		return nil, err
	}
	sink := &sink{w: w}
	buf := buffers.Get().(*[]byte)
	n, err := io.CopyBuffer(sink, resp.Body, *buf)
	buffers.Put(buf)
	switch {
	case sink.err != nil:
		return nil, sink.err
	case err != nil:
		return nil, c.broken(ctx, err)
	}
	fetched, err := c.end(ctx, resp.Trailer, info.From+n)
	if err == nil && o.Range != nil && fetched.Range == nil {
		return nil, errs.WithHint(errs.New(errs.Invalid, "the running node gives no part of an object, but all of it"), "it is of an earlier version: restart it")
	}
	return fetched, err
}

// end reads how a get ended when n bytes of the object were there.
func (c *Client) end(ctx context.Context, trailer http.Header, n int64) (*node.Fetched, error) {
	if s := trailer.Get(problemTrailer); s != "" {
		var p Problem
		if err := fromHeader(s, &p); err != nil {
			return nil, c.broken(ctx, err)
		}
		return nil, p.Err()
	}
	fetched := new(node.Fetched)
	if err := fromHeader(trailer.Get(fetchedTrailer), fetched); err != nil {
		return nil, c.broken(ctx, err)
	}
	all := fetched.Size
	if fetched.Range != nil {
		all = fetched.Range.Offset + fetched.Range.Length
	}
	if all != n {
		return nil, c.broken(ctx, fmt.Errorf("it came up to byte %d, not %d", n, all))
	}
	return fetched, nil
}

// ask performs an operation whose result is one JSON document.
func ask[T any](ctx context.Context, c *Client, method, path string, query url.Values, body io.Reader) (*T, error) {
	resp, err := c.do(ctx, method, path, query, body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	result := new(T)
	if err := json.NewDecoder(resp.Body).Decode(result); err != nil {
		return nil, c.broken(ctx, err)
	}
	return result, nil
}

// do sends a request. A response that is a problem is returned as an error.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, body io.Reader) (*http.Response, error) {
	u := url.URL{Scheme: "http", Host: "node", Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, errs.New(errs.Other, "%s %s: %w", method, path, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.broken(ctx, err)
	}
	switch resp.Header.Get("Content-Type") {
	case jsonType, contentType:
		return resp, nil
	}
	defer resp.Body.Close()
	var p Problem
	if err := json.NewDecoder(resp.Body).Decode(&p); err != nil {
		return nil, c.broken(ctx, err)
	}
	return nil, p.Err()
}

// broken says that a request had no proper end.
func (c *Client) broken(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // its text would show the query, and so names
	}
	if errs.KindOf(err) != errs.Other {
		return err
	}
	return errs.WithHint(errs.New(errs.NoNode, "the node at %s broke off: %w", c.socket, err),
		"see its log, start it again and try again")
}

// A source remembers how its reader failed. A pipe stands between it and the
// transport, which could not end a request while its body's Read blocks.
type source struct {
	r   io.Reader
	mu  sync.Mutex // guards err: the reading goroutine may outlive the put
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.mu.Lock()
		s.err = err
		s.mu.Unlock()
	}
	return n, err
}

func (s *source) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// A sink remembers how its writer failed.
type sink struct {
	w   io.Writer
	err error
}

func (s *sink) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.err = err
	return n, err
}
