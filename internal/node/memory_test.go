package node

import (
	"bytes"
	"crypto/ed25519"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/config"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/ring"
)

var update = flag.Bool("update", false, "write the golden files anew; only for a new version")

// fixedMemory is the same memory each time.
func fixedMemory(t testing.TB) memoryFile {
	t.Helper()
	g := &format.Genesis{Version: format.Version, Name: "example", Random: [32]byte{1, 2, 3}}
	file := memoryFile{Version: memoryVersion, Genesis: g.Encode(), Port: 40871}
	for i := range byte(2) {
		key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{i}, ed25519.SeedSize))
		r, err := ring.Sign(key, ring.Record{Mesh: g.MeshID(), Seq: 1, Role: ring.Storage,
			Addrs: []string{"/ip4/192.0.2.1/tcp/40871"}, Capacity: 1 << 40})
		if err != nil {
			t.Fatal(err)
		}
		file.Members = append(file.Members, memoryMember{r.Encode(), ring.Alive + ring.State(i), 1_800_000_000})
	}
	return file
}

func TestMemoryKeepsItsBytes(t *testing.T) {
	b := format.Marshal(fixedMemory(t))
	name := filepath.Join("testdata", "memory.v1")
	if *update {
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, want) {
		t.Errorf("%d bytes, other than the %d that were fixed", len(b), len(want))
	}
	m, err := decodeMemory(want)
	if err != nil {
		t.Fatal(err)
	}
	if m.genesis.Name != "example" || m.port != 40871 || len(m.members) != 2 || m.members[1].State != ring.Suspect ||
		!m.members[0].Since.Equal(time.Unix(1_800_000_000, 0)) {
		t.Errorf("memory %+v", m)
	}
	if self := m.members[0].Record.Peer; !m.knowsOther(self) || !m.knowsOther(datamesh.PeerID{}) {
		t.Error("it knows of no other member")
	}
}

func TestMemoryIsWhatWasSaved(t *testing.T) {
	h := home(t)
	if m, err := loadMemory(h); err != nil || m.genesis != nil || m.knowsOther(datamesh.PeerID{}) {
		t.Errorf("a fresh home: %+v, %v", m, err)
	}
	want, err := decodeMemory(format.Marshal(fixedMemory(t)))
	if err != nil {
		t.Fatal(err)
	}
	machine, err := ring.New(ring.Config{Mesh: want.genesis.MeshID()}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range want.members {
		machine.Step(time.Now(), x)
	}
	if err := want.save(h, machine.View()); err != nil {
		t.Fatal(err)
	}
	got, err := loadMemory(h)
	if err != nil || got.genesis.MeshID() != want.genesis.MeshID() || got.port != want.port || len(got.members) != 2 {
		t.Errorf("got %+v, %v", got, err)
	}
}

// On a full disk a node starts all the same, unless it would not know its mesh
// the next time.
func TestRememberedAreTheStorageMembersOfTheFile(t *testing.T) {
	home := config.Home(filepath.Join(t.TempDir(), "home"))
	if peers, err := Remembered(home); err != nil || peers.Peers == nil || len(peers.Peers) != 0 {
		t.Errorf("no home: %+v, %v, want no peers", peers, err)
	}
	if _, err := os.Stat(string(home)); !os.IsNotExist(err) {
		t.Errorf("the home was made: %v", err)
	}
	if err := home.Make(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(home.Mesh(), format.Marshal(fixedMemory(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	peers, err := Remembered(home)
	if err != nil || len(peers.Peers) != 2 {
		t.Fatalf("%+v, %v, want 2 peers", peers, err)
	}
	if p := peers.Peers[1]; p.State != "suspect" || p.Role != "storage" || len(p.Addrs) != 1 {
		t.Errorf("%+v", p)
	}
}

func TestKeepNeedsTheDiskOnlyForWhatIsNew(t *testing.T) {
	m, err := decodeMemory(format.Marshal(fixedMemory(t)))
	if err != nil {
		t.Fatal(err)
	}
	machine, err := ring.New(ring.Config{Mesh: m.genesis.MeshID()}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	gone := home(t)
	if err := os.RemoveAll(string(gone)); err != nil {
		t.Fatal(err)
	}
	n := &Node{home: gone, log: slog.New(slog.DiscardHandler)}
	if err := n.keep(m, machine.View(), true); err != nil {
		t.Errorf("of a mesh that is known: %v", err)
	}
	if err := n.keep(m, machine.View(), false); err == nil {
		t.Error("of a new mesh: no error")
	}
}

func TestMemoryThatIsDamagedSaysSo(t *testing.T) {
	for what, change := range map[string]func(*memoryFile){
		"no version":             func(f *memoryFile) { f.Version-- },
		"no genesis":             func(f *memoryFile) { f.Genesis = nil },
		"a port that is none":    func(f *memoryFile) { f.Port = 1 << 16 },
		"a port below 0":         func(f *memoryFile) { f.Port = -1 },
		"a member of elsewhere":  func(f *memoryFile) { f.Genesis = (&format.Genesis{Version: format.Version}).Encode() },
		"half a member's record": func(f *memoryFile) { f.Members[1].Record = f.Members[1].Record[:20] },
	} {
		h := home(t)
		file := fixedMemory(t)
		change(&file)
		if err := os.WriteFile(h.Mesh(), format.Marshal(file), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := loadMemory(h)
		wantKind(t, what, err, errs.Configuration)
		if !strings.Contains(errs.HintFor(err), "networks use PEER_ID@ADDR") {
			t.Errorf("%s: hint %q", what, errs.HintFor(err))
		}
	}
}

func TestMemoryOfANewerVersionSaysToUpdate(t *testing.T) {
	future := struct { // with a field that is not known
		memoryFile
		More string `cbor:"9,keyasint"`
	}{fixedMemory(t), "more"}
	future.Version++
	same, known := fixedMemory(t), future.memoryFile
	same.Members[0].Record = format.Marshal(map[int]any{1: format.Marshal(map[int]any{1: ring.Version + 1, 99: 0}), 2: make([]byte, 64)})
	for what, file := range map[string]any{"with the same fields": known, "with others": future, "with a newer member": same} {
		h := home(t)
		if err := os.WriteFile(h.Mesh(), format.Marshal(file), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := loadMemory(h)
		wantKind(t, what, err, errs.Configuration)
		if !strings.Contains(errs.HintFor(err), "update datamesh") {
			t.Errorf("%s: %v, hint %q", what, err, errs.HintFor(err))
		}
	}
}

// FuzzMemory reads whatever the file may have. What is read has one encoding.
func FuzzMemory(f *testing.F) {
	f.Add(format.Marshal(fixedMemory(f)))
	empty := fixedMemory(f)
	empty.Members, empty.Port = nil, 0
	f.Add(format.Marshal(empty))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMemory(b)
		if err != nil {
			return
		}
		file := memoryFile{Version: memoryVersion, Genesis: m.genesis.Encode(), Port: m.port}
		for _, x := range m.members {
			file.Members = append(file.Members, memoryMember{x.Record.Encode(), x.State, x.Since.Unix()})
		}
		if again := format.Marshal(file); !bytes.Equal(again, b) {
			t.Errorf("%x is read, and written as %x", b, again)
		}
	})
}
