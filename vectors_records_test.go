package datamesh_test

import (
	"bytes"
	"crypto/ed25519"
	"slices"
	"testing"

	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/format"
	"datamesh/internal/hash"
	"datamesh/internal/ring"

	"github.com/google/go-cmp/cmp"
)

type descriptorVectors struct {
	About       string `json:"about"`
	Descriptors []struct {
		OwnerSeed hexa   `json:"owner_seed"`
		Owner     hexa   `json:"owner"`
		K         int    `json:"k"`
		M         int    `json:"m"`
		Length    int    `json:"length"`
		Shards    []hexa `json:"shards"`

		Body      hexa `json:"body"`
		SegmentID hexa `json:"segment_id"`
		Digest    hexa `json:"digest"`
		Signature hexa `json:"signature"`
		Encoded   hexa `json:"encoded"`

		Deletions []deletion `json:"deletions"`
	} `json:"descriptors"`
}

type deletion struct {
	Generation uint64 `json:"generation"`
	Digest     hexa   `json:"digest"`
	Signature  hexa   `json:"signature"`
	Encoded    hexa   `json:"encoded"`
}

func (v descriptorVectors) compute(t *testing.T) descriptorVectors {
	v.Descriptors = slices.Clone(v.Descriptors)
	for i := range v.Descriptors {
		x := &v.Descriptors[i]
		owner := ed25519.NewKeyFromSeed(x.OwnerSeed)
		var ids []datamesh.ShardID
		for _, s := range x.Shards {
			ids = append(ids, datamesh.ShardID(s))
		}
		d, err := format.NewDescriptor(owner, x.K, x.M, x.Length, ids)
		if err != nil {
			t.Fatal(err)
		}
		x.Owner, x.SegmentID, x.Signature, x.Encoded = d.Owner[:], d.Segment[:], d.Signature[:], format.EncodeDescriptor(d)
		x.Digest = derived("datamesh v1 segment signature", x.SegmentID)
		if !bytes.Contains(x.Encoded, x.Body) || !bytes.Equal(derived("datamesh v1 segment id", x.Body), x.SegmentID) {
			t.Errorf("descriptor %d: its body is another", i)
		}
		if !ed25519.Verify(ed25519.PublicKey(x.Owner), x.Digest, x.Signature) {
			t.Errorf("descriptor %d: its signature is of another digest", i)
		}
		if got, err := format.DecodeDescriptor(x.Encoded); err != nil || !cmp.Equal(got, d) {
			t.Errorf("descriptor %d: read as %v, %v", i, got, err)
		}
		x.Deletions = each(x.Deletions, func(y deletion) deletion {
			del := format.NewDeletion(owner, d, y.Generation)
			y.Digest = derived("datamesh v1 segment deletion", append(bytes.Clone(x.SegmentID), format.Marshal(y.Generation)...))
			y.Signature, y.Encoded = del.Signature[:], format.EncodeDeletion(del)
			if !ed25519.Verify(ed25519.PublicKey(x.Owner), y.Digest, y.Signature) {
				t.Errorf("descriptor %d, generation %d: its signature is of another digest", i, y.Generation)
			}
			if got, err := format.DecodeDeletion(y.Encoded); err != nil || !cmp.Equal(got, del) {
				t.Errorf("descriptor %d, generation %d: read as %v, %v", i, y.Generation, got, err)
			}
			return y
		})
	}
	return v
}

type recordVectors struct {
	About   string `json:"about"`
	Records []struct {
		OwnerSeed hexa   `json:"owner_seed"`
		Mesh      hexa   `json:"mesh"`
		Device    hexa   `json:"device"`
		Seq       uint64 `json:"seq,string"`
		Base      uint64 `json:"base,string"`
		Payload   hexa   `json:"payload"`

		Owner     hexa `json:"owner"`
		Place     hexa `json:"place"`
		Body      hexa `json:"body"`
		Digest    hexa `json:"signed_digest"`
		Signature hexa `json:"signature"`
		Encoded   hexa `json:"encoded"`
		Name      hexa `json:"record_digest"`
	} `json:"records"`
}

func (v recordVectors) compute(t *testing.T) recordVectors {
	v.Records = slices.Clone(v.Records)
	for i := range v.Records {
		x := &v.Records[i]
		r, err := format.NewRecord(ed25519.NewKeyFromSeed(x.OwnerSeed), datamesh.MeshID(x.Mesh), [16]byte(x.Device), x.Seq, x.Base, x.Payload)
		if err != nil {
			t.Fatal(err)
		}
		x.Owner, x.Signature, x.Encoded = r.Owner[:], r.Signature[:], format.EncodeRecord(r)
		x.Digest = derived("datamesh v1 owner record", x.Body)
		if !bytes.Contains(x.Encoded, x.Body) || !ed25519.Verify(ed25519.PublicKey(x.Owner), x.Digest, x.Signature) {
			t.Errorf("record %d: its signature is of another body", i)
		}
		x.Place, x.Name = derived("datamesh v1 place of an owner's records", x.Owner), derived("datamesh v1 owner record digest", x.Encoded)
		if key := format.RecordKey(r); !bytes.Equal(key.Place[:], x.Place) || !bytes.Equal(key.Digest[:], x.Name) {
			t.Errorf("record %d: its key is %v", i, key)
		}
		if got, err := format.DecodeRecord(x.Encoded); err != nil || !cmp.Equal(got, r) {
			t.Errorf("record %d: read as %v, %v", i, got, err)
		}
	}
	return v
}

type meshVectors struct {
	About  string `json:"about"`
	Meshes []struct {
		Random   hexa     `json:"random"`
		Name     string   `json:"name,omitempty"`
		Founders []hexa   `json:"founders,omitempty"`
		Genesis  hexa     `json:"genesis"`
		MeshID   hexa     `json:"mesh_id"`
		Members  []member `json:"members"`
	} `json:"meshes"`
}

type member struct {
	Peer      hexa `json:"peer"`
	Nonce     hexa `json:"nonce"`
	Placement hexa `json:"placement"`
}

func (v meshVectors) compute(t *testing.T) meshVectors {
	v.Meshes = slices.Clone(v.Meshes)
	for i := range v.Meshes {
		m := &v.Meshes[i]
		g := &format.Genesis{Version: 1, Random: [32]byte(m.Random), Name: m.Name}
		for _, f := range m.Founders {
			g.Founders = append(g.Founders, [32]byte(f))
		}
		id := g.MeshID()
		m.Genesis, m.MeshID = g.Encode(), id[:]
		if got, err := format.DecodeGenesis(m.Genesis); err != nil || !cmp.Equal(got, g) || !bytes.Equal(derived("datamesh v1 mesh genesis", m.Genesis), m.MeshID) {
			t.Errorf("mesh %d: read as %v, %v", i, got, err)
		}
		m.Members = each(m.Members, func(x member) member {
			r := ring.Record{Mesh: id, Peer: datamesh.PeerID(x.Peer), Nonce: x.Nonce}
			place := r.Placement()
			x.Placement = place[:]
			if hash.Keyed(id, x.Peer, x.Nonce) != place {
				t.Errorf("mesh %d: the place of %x is no keyed hash", i, x.Peer)
			}
			return x
		})
	}
	return v
}

type manifestVectors struct {
	About     string `json:"about"`
	Manifests []struct {
		Manifest manifest `json:"manifest"`
		Encoded  hexa     `json:"encoded"`
	} `json:"manifests"`
	Lists []struct {
		List    manifest `json:"list"`
		Encoded hexa     `json:"encoded"`
	} `json:"lists"`
	Sealed []struct {
		Root     hexa     `json:"root"`
		Sealed   hexa     `json:"sealed"`
		Manifest manifest `json:"manifest"`
	} `json:"sealed"`
}

// A manifest is one in JSON; of a list it has only some fields.
type manifest struct {
	Size     int64     `json:"size,omitempty"`
	Name     string    `json:"name,omitempty"`
	Mode     uint32    `json:"mode,omitempty"`
	ModTime  int64     `json:"mod_time,string,omitempty"`
	Created  int64     `json:"created,string,omitempty"`
	Type     string    `json:"type,omitempty"`
	Tags     []string  `json:"tags,omitempty"`
	Inline   hexa      `json:"inline,omitempty"`
	Segments []segment `json:"segments,omitempty"`
	List     []segment `json:"list,omitempty"`
	Peers    []hexa    `json:"peers,omitempty"`
}

type segment struct {
	ID     hexa     `json:"id"`
	Key    hexa     `json:"key"`
	Length int      `json:"length"`
	Codec  uint64   `json:"codec,omitempty"`
	Packed int      `json:"packed,omitempty"`
	K      int      `json:"k"`
	M      int      `json:"m"`
	Hints  []uint32 `json:"hints,omitempty"`
}

func (v manifestVectors) compute(t *testing.T) manifestVectors {
	v.Manifests, v.Lists = slices.Clone(v.Manifests), slices.Clone(v.Lists)
	for i := range v.Manifests {
		x := &v.Manifests[i]
		x.Encoded = format.Marshal(x.Manifest.format())
	}
	for i := range v.Lists {
		x := &v.Lists[i]
		m := x.List.format()
		encoded, err := format.EncodeList(&format.SegmentList{Segments: m.Segments, Peers: m.Peers})
		if err != nil {
			t.Fatal(err)
		}
		x.Encoded = encoded
		if got, err := format.DecodeList(encoded); err != nil || len(got.Segments) != len(m.Segments) {
			t.Errorf("list %d: read as %v, %v", i, got, err)
		}
	}
	for i, x := range v.Sealed {
		ring := imported(t, secretText(t, "datamesh-root-", x.Root))
		got, err := format.OpenManifest(bytes.Clone(x.Sealed), ring.Identities)
		if err != nil {
			t.Errorf("sealed manifest %d: %v", i, err)
		} else if !bytes.Equal(format.Marshal(got), format.Marshal(x.Manifest.format())) {
			t.Errorf("sealed manifest %d opens as %v", i, got)
		}
	}
	return v
}

func (m *manifest) format() *format.Manifest {
	out := &format.Manifest{Version: 1, Size: m.Size, Name: m.Name, Mode: m.Mode, ModTime: m.ModTime, Created: m.Created,
		Type: m.Type, Tags: m.Tags, Inline: m.Inline, Segments: refs(m.Segments), List: refs(m.List)}
	for _, p := range m.Peers {
		out.Peers = append(out.Peers, datamesh.PeerID(p))
	}
	return out
}

func refs(segments []segment) (out []format.SegmentRef) {
	for _, s := range segments {
		out = append(out, format.SegmentRef{ID: datamesh.SegmentID(s.ID), Key: crypt.Key(s.Key), Length: s.Length, Codec: s.Codec, Packed: s.Packed, K: s.K, M: s.M, Hints: s.Hints})
	}
	return out
}
