//go:build unix

package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"sync"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/format"
	network "datamesh/internal/mesh"
	"datamesh/internal/node"
	"datamesh/internal/ring"
	"datamesh/internal/transfer"
)

// A tappedClient is a client of a mesh whose streams are recorded before they
// are encrypted.
type tappedClient struct {
	*network.Net
	*transfer.Client
	self datamesh.PeerID
	tap  *tap
}

func (m *mesh) tappedClient(t *testing.T) *tappedClient {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	door := m.members[0].ready
	ctx, cancel := context.WithTimeout(t.Context(), guard)
	defer cancel()
	net, err := network.New(ctx, network.Config{Key: key, Role: ring.Client, Probe: time.Second, Agent: node.Agent,
		Join: []network.Peer{{ID: door.PeerID, Addr: nearestAddr(door.Addrs)}}})
	if err != nil {
		t.Fatal(err)
	}
	c := &tappedClient{Net: net, self: datamesh.PeerID(key.Public().(ed25519.PublicKey)), tap: new(tap)}
	c.Client = transfer.NewClient(func(ctx context.Context, peer datamesh.PeerID) (network.Stream, error) {
		s, err := net.Open(ctx, peer, transfer.Protocol)
		if err != nil {
			return nil, err
		}
		return c.tap.record(s), nil
	})
	t.Cleanup(func() {
		c.Client.Close()
		if err := net.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := net.Met(ctx); err != nil {
		t.Fatal(err)
	}
	return c
}

// Owned asks for what an owner has, as he would.
func (c *tappedClient) Owned(ctx context.Context, peer datamesh.PeerID, owner ed25519.PrivateKey, after datamesh.SegmentID) ([]*datamesh.Descriptor, datamesh.SegmentID, bool, error) {
	return c.Client.Owned(ctx, peer, transfer.OwnedAsk{Owner: datamesh.OwnerKey(owner.Public().(ed25519.PublicKey)), After: after,
		Signature: format.SignOwned(owner, c.Genesis().MeshID(), peer, c.self)})
}

// A tap keeps all bytes that go through streams.
type tap struct {
	mu      sync.Mutex // guards streams and their bytes
	streams []*tapped
}

// A tapped stream is recorded.
type tapped struct {
	network.Stream
	tap           *tap
	read, written []byte
}

func (tap *tap) record(s network.Stream) network.Stream {
	tap.mu.Lock()
	defer tap.mu.Unlock()
	r := &tapped{Stream: s, tap: tap}
	tap.streams = append(tap.streams, r)
	return r
}

func (s *tapped) Read(b []byte) (int, error) {
	n, err := s.Stream.Read(b)
	s.tap.mu.Lock()
	defer s.tap.mu.Unlock()
	s.read = append(s.read, b[:n]...)
	return n, err
}

func (s *tapped) Write(b []byte) (int, error) {
	s.tap.mu.Lock()
	s.written = append(s.written, b...)
	s.tap.mu.Unlock()
	return s.Stream.Write(b)
}

func (tap *tap) len() (n int) {
	tap.mu.Lock()
	defer tap.mu.Unlock()
	for _, s := range tap.streams {
		n += len(s.read) + len(s.written)
	}
	return n
}

func (tap *tap) has(text string) bool {
	tap.mu.Lock()
	defer tap.mu.Unlock()
	for _, s := range tap.streams {
		if bytes.Contains(s.read, []byte(text)) || bytes.Contains(s.written, []byte(text)) {
			return true
		}
	}
	return false
}
