package api

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"datamesh/internal/errs"
	"datamesh/internal/node"
)

func TestSocketIsPrivateAndGoesWithItsListener(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "run", "api.sock")
	ln, err := Listen(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{socket: 0o600, filepath.Dir(socket): 0o700} {
		if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != want {
			t.Errorf("%s: got %v, %v, want mode %v", path, fi.Mode(), err, want)
		}
	}
	ln.Close()
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after Close: got %v, want no socket", err)
	}
}

func TestOnlyOneListens(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "run", "api.sock")
	ln, err := Listen(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if _, err := Listen(t.Context(), socket); !errors.Is(err, errs.Locked) {
		t.Errorf("got %v, want Locked", err)
	}
}

// stale leaves a socket as a process does that is killed.
func stale(t *testing.T, socket string) {
	t.Helper()
	ln, err := Listen(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	ln.Close()
}

func TestStaleSocketIsReplaced(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "run", "api.sock")
	stale(t, socket)
	if _, err := Dial(t.Context(), socket); !errors.Is(err, errs.NoNode) {
		t.Errorf("Dial: got %v, want NoNode", err)
	}
	ln, err := Listen(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
}

func TestNoSocketIsNoNode(t *testing.T) {
	if _, err := Dial(t.Context(), filepath.Join(t.TempDir(), "run", "api.sock")); !errors.Is(err, errs.NoNode) {
		t.Errorf("no directory: got %v, want NoNode", err)
	}
	dir := filepath.Join(t.TempDir(), "run")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(t.Context(), filepath.Join(dir, "api.sock")); !errors.Is(err, errs.NoNode) {
		t.Errorf("no socket: got %v, want NoNode", err)
	}
}

func TestDirectoriesThatOthersReachAreRefused(t *testing.T) {
	dir := t.TempDir()
	open, link := filepath.Join(dir, "open"), filepath.Join(dir, "link")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o770); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{open, link} {
		if _, err := Listen(t.Context(), filepath.Join(dir, "api.sock")); !errors.Is(err, errs.Authentication) {
			t.Errorf("Listen in %s: got %v, want Authentication", dir, err)
		}
		if _, err := Dial(t.Context(), filepath.Join(dir, "api.sock")); !errors.Is(err, errs.Authentication) {
			t.Errorf("Dial in %s: got %v, want Authentication", dir, err)
		}
	}
}

// start serves ops until stop is called, and then for as long as what is under way
// takes, or no longer if graceless; the channel then tells how Serve ended.
func start(t *testing.T, ops Operations, graceless bool) (client *Client, stop func(), served chan error) {
	t.Helper()
	ln, err := Listen(t.Context(), filepath.Join(t.TempDir(), "run", "api.sock"))
	if err != nil {
		t.Fatal(err)
	}
	socket := ln.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	served = make(chan error, 1)
	grace := time.Hour
	if graceless {
		grace = 0
	}
	go func() { served <- serve(ctx, ln, ops, grace) }()
	client, err = Dial(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client, stop, served
}

func TestStoppingServerFinishesWhatIsUnderWay(t *testing.T) {
	begun, finish := make(chan struct{}), make(chan struct{})
	client, stop, served := start(t, &odd{get: func(_ context.Context, open func(node.ObjectInfo) (io.Writer, error)) (*node.Fetched, error) {
		w, err := open(node.ObjectInfo{})
		if err != nil {
			return nil, err
		}
		close(begun)
		<-finish
		n, err := w.Write(make([]byte, 1<<20))
		return &node.Fetched{Size: int64(n)}, err
	}}, false)
	got := make(chan error, 1)
	go func() {
		_, err := client.Get(t.Context(), "a", node.GetOptions{}, func(node.ObjectInfo) (io.Writer, error) { return io.Discard, nil })
		got <- err
	}()
	<-begun
	stop()
	for { // until the server has heard of it
		late, err := Dial(t.Context(), client.socket)
		if errors.Is(err, errs.NoNode) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		late.Close()
	}
	close(finish)
	if err := <-got; err != nil {
		t.Errorf("the get under way: %v", err)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestStoppingServerCancelsWhatTakesTooLong(t *testing.T) {
	begun := make(chan struct{})
	client, stop, served := start(t, &odd{list: func(ctx context.Context, _ func(node.Object) error) error {
		close(begun)
		<-ctx.Done()
		return ctx.Err()
	}}, true)
	got := make(chan error, 1)
	go func() {
		got <- client.List(t.Context(), node.ListOptions{}, func(node.Object) error { return nil })
	}()
	<-begun
	stop()
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if err := <-got; !errors.Is(err, errs.NoNode) {
		t.Errorf("the list under way: got %v, want NoNode", err)
	}
}

func TestBrokenStreamIsNoWholeObject(t *testing.T) {
	client, stop, served := start(t, &odd{get: func(ctx context.Context, open func(node.ObjectInfo) (io.Writer, error)) (*node.Fetched, error) {
		w, err := open(node.ObjectInfo{Size: 1000})
		if err != nil {
			return nil, err
		}
		w.Write(make([]byte, 1000))
		panic(http.ErrAbortHandler) // all bytes were sent, but not that they are all
	}}, false)
	_, err := client.Get(t.Context(), "a", node.GetOptions{}, func(node.ObjectInfo) (io.Writer, error) { return io.Discard, nil })
	if !errors.Is(err, errs.NoNode) {
		t.Errorf("got %v, want NoNode", err)
	}
	stop()
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

// curl has no eye for trailers: what breaks off must break for it too.
func TestBrokenContentIsBrokenForAnyHTTPClient(t *testing.T) {
	client, stop, served := start(t, &odd{get: func(_ context.Context, open func(node.ObjectInfo) (io.Writer, error)) (*node.Fetched, error) {
		w, err := open(node.ObjectInfo{Size: 1000})
		if err != nil {
			return nil, err
		}
		w.Write(make([]byte, 500))
		return nil, errs.New(errs.Unavailable, "3 of 4 shards")
	}}, false)
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return connect(ctx, client.socket) }}
	resp, err := (&http.Client{Transport: transport}).Get("http://node" + contentPath + "?ref=a")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if content, err := io.ReadAll(resp.Body); err == nil || resp.ProtoMajor != 1 {
		t.Errorf("%s: got %d bytes as if they were whole", resp.Proto, len(content))
	}
	transport.CloseIdleConnections()
	stop()
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestServerThatHasStoppedAnswersNothingAsDone(t *testing.T) {
	var requests gate
	requests.close()
	w := httptest.NewRecorder()
	requests.guard(routes(new(memory))).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", objectsPath, nil))
	if w.Code < 500 || w.Header().Get("Content-Type") != problemType {
		t.Errorf("got %d %q, want a problem", w.Code, w.Body)
	}
}

// HTTP/1.1 is for people with curl.
func TestAnyHTTPClientIsAnswered(t *testing.T) {
	client, stop, served := start(t, new(memory), false)
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return connect(ctx, client.socket) }}
	for path, want := range map[string]struct {
		status int
		media  string
	}{
		statsPath:                  {200, jsonType},
		infoPath + "?ref=unknown":  {404, problemType},
		checkPath + "?ref=unknown": {404, problemType},
		"/v1/none":                 {400, problemType},
	} {
		resp, err := (&http.Client{Transport: transport}).Get("http://node" + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want.status || resp.Header.Get("Content-Type") != want.media {
			t.Errorf("%s: got %d %s, want %+v", path, resp.StatusCode, resp.Header.Get("Content-Type"), want)
		}
	}
	resp, err := (&http.Client{Transport: transport}).Post("http://node"+objectsPath, contentType, strings.NewReader("content"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("a put without options: got %d, want 200", resp.StatusCode)
	}
	transport.CloseIdleConnections()
	stop()
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
}
