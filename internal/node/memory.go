package node

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"time"

	"datamesh"
	"datamesh/internal/config"
	"datamesh/internal/durable"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/ring"
)

// A memory is what a home remembers of its mesh between two runs.
type memory struct {
	genesis *format.Genesis // nil: it belongs to none
	port    int             // 0: it has never listened
	members []ring.Learned
}

const (
	memoryVersion = 1
	maxMemory     = 128 << 20 // bytes: more than 10,000 members at their largest
)

// memoryFile is a memory on the disk.
type memoryFile struct {
	Version uint64         `cbor:"1,keyasint"`
	Genesis []byte         `cbor:"2,keyasint"`
	Port    int            `cbor:"3,keyasint,omitempty"`
	Members []memoryMember `cbor:"4,keyasint,omitempty"`
}

type memoryMember struct {
	Record []byte     `cbor:"1,keyasint"`
	State  ring.State `cbor:"2,keyasint"`
	Since  int64      `cbor:"3,keyasint"` // Unix seconds
}

// loadMemory reads what the home remembers. Kinds: IO, Configuration.
func loadMemory(home config.Home) (*memory, error) {
	f, err := os.Open(home.Mesh())
	if errors.Is(err, fs.ErrNotExist) {
		return &memory{}, nil
	}
	if err != nil {
		return nil, errs.New(errs.IO, "%w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxMemory+1))
	if err != nil {
		return nil, errs.New(errs.IO, "%w", err)
	}
	m, err := decodeMemory(b)
	if err != nil && errs.HintFor(err) != "" { // it is of a newer version
		return nil, errs.New(errs.Configuration, "%s: %w", home.Mesh(), err)
	}
	if errs.KindOf(err) == errs.Serialization {
		err = errors.New("the memory of the mesh is damaged") // how tells nobody anything
	}
	if err != nil {
		return nil, errs.WithHint(errs.New(errs.Configuration, "%s: %w", home.Mesh(), err),
			"move it away and join again: datamesh networks use PEER_ID@ADDR; keys, catalog and shards are not in it")
	}
	return m, nil
}

func decodeMemory(b []byte) (*memory, error) {
	var file memoryFile
	if err := format.Unmarshal("memory of the mesh", b, maxMemory, &file); err != nil {
		return nil, cmp.Or(format.Newer("memory of the mesh", b, memoryVersion), err)
	}
	if err := format.Newer("memory of the mesh", b, memoryVersion); err != nil {
		return nil, err
	}
	if file.Version != memoryVersion {
		return nil, errs.New(errs.Configuration, "version %d, this program knows %d", file.Version, memoryVersion)
	}
	g, err := format.DecodeGenesis(file.Genesis)
	if err != nil {
		return nil, err
	}
	if file.Port < 0 || file.Port > math.MaxUint16 {
		return nil, errs.New(errs.Serialization, "memory of the mesh: port %d", file.Port)
	}
	m := &memory{genesis: g, port: file.Port}
	for _, x := range file.Members {
		r, err := ring.DecodeRecord(x.Record, g.MeshID())
		if err != nil {
			return nil, err
		}
		m.members = append(m.members, ring.Learned{Record: r, State: x.State, Since: time.Unix(x.Since, 0)})
	}
	return m, nil
}

// save writes the memory with the members of view. Kinds: IO, Full.
func (m *memory) save(home config.Home, view *ring.View) error {
	file := memoryFile{Version: memoryVersion, Genesis: m.genesis.Encode(), Port: m.port}
	for x := range view.All() {
		file.Members = append(file.Members, memoryMember{x.Record.Encode(), x.State, x.Since.Unix()})
	}
	return durable.WriteFile(home.Mesh(), 0o600, true, func(w io.Writer) error {
		_, err := w.Write(format.Marshal(file))
		return err
	})
}

// keep saves m. A home that knows its mesh already can do with what it knew: on
// a full disk its node must serve what it has.
func (n *Node) keep(m *memory, view *ring.View, known bool) error {
	err := m.save(n.home, view)
	if err != nil && known {
		n.log.Error("the members of the mesh could not be written down", "error", err)
		return nil
	}
	return err
}

// knowsOther reports whether there is a member other than self.
func (m *memory) knowsOther(self datamesh.PeerID) bool {
	for _, x := range m.members {
		if x.Record.Peer != self {
			return true
		}
	}
	return false
}
