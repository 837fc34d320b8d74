package mesh

import (
	"bytes"
	"crypto/ed25519"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/ring"
)

var update = flag.Bool("update", false, "write the golden files anew; only for a new version")

// golden compares b with a golden file.
func golden(t *testing.T, name string, b []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, want) {
		t.Errorf("%s: %d bytes, other than the %d that were fixed", name, len(b), len(want))
	}
}

// fixedHello is the same hello each time, and the peer that says it.
func fixedHello(t testing.TB) (hello, datamesh.PeerID) {
	t.Helper()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	g := &format.Genesis{Version: format.Version, Name: "example", Random: [32]byte{1, 2, 3}}
	r, err := ring.Sign(key, ring.Record{Mesh: g.MeshID(), Seq: 1, Role: ring.Storage,
		Addrs: []string{"/ip4/192.0.2.1/tcp/40871"}, Capacity: 1 << 40, Used: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	return hello{Version: format.Version, Genesis: g.Encode(), Role: ring.Storage, Record: r.Encode()}, r.Peer
}

func TestHelloKeepsItsBytes(t *testing.T) {
	h, id := fixedHello(t)
	golden(t, "hello.v1", format.Marshal(h))
	got, err := decodeHello(format.Marshal(h), id)
	if err != nil {
		t.Fatal(err)
	}
	if got.genesis.Name != "example" || got.record.Peer != id {
		t.Errorf("got %+v, %+v", got.genesis, got.record)
	}
	h.Role, h.Record = ring.Client, nil
	golden(t, "hello-client.v1", format.Marshal(h))
	if got, err := decodeHello(format.Marshal(h), id); err != nil || got.record != nil {
		t.Errorf("of a client: %+v, %v", got, err)
	}
}

func TestHellosThatAreRefused(t *testing.T) {
	h, id := fixedHello(t)
	for _, tt := range []struct {
		name   string
		change func(*hello)
		want   errs.Kind
	}{
		{"another version", func(h *hello) { h.Version++ }, errs.Serialization},
		{"no genesis", func(h *hello) { h.Genesis = nil }, errs.Serialization},
		{"the genesis of another mesh", func(h *hello) { h.Genesis = newGenesis(t, "").Encode() }, errs.Authentication},
		{"half a record", func(h *hello) { h.Record = h.Record[:len(h.Record)/2] }, errs.Serialization},
	} {
		changed := h
		tt.change(&changed)
		if _, err := decodeHello(format.Marshal(changed), id); errs.KindOf(err) != tt.want {
			t.Errorf("%s: got %v, want kind %s", tt.name, err, tt.want.Name())
		}
	}
	if _, err := decodeHello(format.Marshal(h), datamesh.PeerID{1}); errs.KindOf(err) != errs.Authentication {
		t.Errorf("the record of another peer: got %v", err)
	}
	if _, err := decodeHello(make([]byte, maxHello+1), id); errs.KindOf(err) != errs.Serialization {
		t.Errorf("a hello beyond the limit: got %v", err)
	}
}

// FuzzHello lets a stranger say anything. What is read has one encoding.
func FuzzHello(f *testing.F) {
	h, id := fixedHello(f)
	f.Add(format.Marshal(h))
	h.Role, h.Record = ring.Client, nil
	f.Add(format.Marshal(h))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeHello(b, id)
		if err != nil {
			return
		}
		var h hello
		if err := format.Unmarshal("hello", b, maxHello, &h); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(h.Genesis, m.genesis.Encode()) || m.record != nil && !bytes.Equal(h.Record, m.record.Encode()) {
			t.Errorf("%x is read as %+v", b, m)
		}
	})
}
