package datamesh_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/hash"
	"datamesh/internal/keyring"

	"filippo.io/age"
	"github.com/btcsuite/btcd/btcutil/bech32"
	"github.com/google/go-cmp/cmp"
)

// The vectors in testdata/vectors are for other implementations. Each file
// has inputs and all that follows from them; here everything that follows is
// computed again and must be what the file says.
var vectors = map[string]func(*testing.T, []byte){
	"contexts.json":    again(contextVectors.compute),
	"derivations.json": again(derivationVectors.compute),
	"descriptors.json": again(descriptorVectors.compute),
	"frames.json":      again(frameVectors.compute),
	"ids.json":         again(idVectors.compute),
	"manifests.json":   again(manifestVectors.compute),
	"members.json":     again(memberVectors.compute),
	"meshes.json":      again(meshVectors.compute),
	"records.json":     again(recordVectors.compute),
	"shards.json":      again(shardVectors.compute),
	"slices.json":      again(sliceVectors.compute),
}

func TestVectors(t *testing.T) {
	files, err := os.ReadDir("testdata/vectors")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	for name, check := range vectors {
		t.Run(name, func(t *testing.T) {
			b, err := os.ReadFile(filepath.Join("testdata/vectors", name))
			if err != nil {
				t.Fatal(err)
			}
			check(t, b)
		})
	}
	for _, name := range names {
		if vectors[name] == nil {
			t.Errorf("%s is checked by nothing", name)
		}
	}
}

// again reads vectors and compares them with what compute makes of their
// inputs.
func again[V any](compute func(V, *testing.T) V) func(*testing.T, []byte) {
	return func(t *testing.T, b []byte) {
		decoder := json.NewDecoder(bytes.NewReader(b))
		decoder.DisallowUnknownFields()
		var file V
		if err := decoder.Decode(&file); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(file, compute(file, t)); d != "" {
			t.Errorf("the file has -, the program has +:\n%s", d)
		}
		if b, err := json.Marshal(file); err != nil || len(b) < 100 {
			t.Errorf("there is nothing in it: %s, %v", b, err)
		}
	}
}

// A text in hexadecimal digits.
type hexa []byte

func (h hexa) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

func (h *hexa) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

// each returns what f makes of all elements; the slice itself stays as it is.
func each[E any](list []E, f func(E) E) []E {
	list = slices.Clone(list)
	for i := range list {
		list[i] = f(list[i])
	}
	return list
}

// content is the pattern 0, 1, … 250, 0, 1, … that BLAKE3's own vectors use.
func content(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}

type idVectors struct {
	About string `json:"about"`
	IDs   []struct {
		Bytes   hexa   `json:"bytes"`
		Segment string `json:"segment"`
		Shard   string `json:"shard"`
		Object  string `json:"object"`
		Mesh    string `json:"mesh"`
		Owner   string `json:"owner"`
	} `json:"ids"`
	Peers []struct {
		PublicKey hexa   `json:"public_key"`
		Multihash hexa   `json:"multihash"`
		Text      string `json:"text"`
	} `json:"peers"`
	NotObjectIDs []struct {
		Text string `json:"text"`
		Why  string `json:"why"`
	} `json:"not_object_ids"`
}

func (v idVectors) compute(t *testing.T) idVectors {
	v.IDs, v.Peers = slices.Clone(v.IDs), slices.Clone(v.Peers)
	for i := range v.IDs {
		id := &v.IDs[i]
		b := [32]byte(id.Bytes)
		id.Segment, id.Shard = datamesh.SegmentID(b).String(), datamesh.ShardID(b).String()
		id.Object, id.Mesh, id.Owner = datamesh.ObjectID(b).String(), datamesh.MeshID(b).String(), datamesh.OwnerKey(b).String()
		if got, err := datamesh.ParseObjectID(id.Object); err != nil || got != b {
			t.Errorf("%s is read as %x, %v", id.Object, got[:], err)
		}
	}
	for i := range v.Peers {
		p := &v.Peers[i]
		peer := datamesh.PeerID(p.PublicKey)
		p.Multihash, p.Text = hexa(peer.Multihash()), peer.String()
		if got, err := datamesh.ParsePeerID(p.Text); err != nil || got != peer {
			t.Errorf("%s is read as %x, %v", p.Text, got[:], err)
		}
	}
	for _, bad := range v.NotObjectIDs {
		if id, err := datamesh.ParseObjectID(bad.Text); err == nil {
			t.Errorf("%s, %s, is read as %x", bad.Text, bad.Why, id[:])
		}
	}
	return v
}

type derivationVectors struct {
	About string `json:"about"`
	Roots []struct {
		Root         hexa    `json:"root"`
		Words        string  `json:"words"`
		IdentityText string  `json:"identity_text"`
		OwnerLabel   string  `json:"owner_label"`
		OwnerSeed    hexa    `json:"owner_seed"`
		OwnerKey     hexa    `json:"owner_public_key"`
		OwnerID      string  `json:"owner_id"`
		CatalogLabel string  `json:"catalog_label"`
		CatalogKey   hexa    `json:"catalog_key"`
		Epochs       []epoch `json:"epochs"`
	} `json:"roots"`
	Nodes []struct {
		Seed      hexa   `json:"seed"`
		NodeText  string `json:"node_text"`
		PublicKey hexa   `json:"public_key"`
		PeerID    string `json:"peer_id"`
	} `json:"nodes"`
}

type epoch struct {
	Epoch        int    `json:"epoch"`
	Label        string `json:"label"`
	Seed         hexa   `json:"seed"`
	AgeIdentity  string `json:"age_identity"`
	AgeRecipient string `json:"age_recipient"`
}

func (v derivationVectors) compute(t *testing.T) derivationVectors {
	v.Roots, v.Nodes = slices.Clone(v.Roots), slices.Clone(v.Nodes)
	for i := range v.Roots {
		r := &v.Roots[i]
		root := keyring.Root(r.Root)
		phrase := root.Phrase()
		r.Words = strings.Join(phrase[:], " ")
		if again, err := keyring.ParsePhrase(r.Words); err != nil || again != root {
			t.Errorf("%s are the words of another root, %v", r.Words, err)
		}
		r.IdentityText = secretText(t, "datamesh-root-", r.Root)
		r.OwnerSeed = root.Owner().Seed()
		r.OwnerKey = hexa(root.Owner().Public().(ed25519.PublicKey))
		r.OwnerID = datamesh.OwnerKey(r.OwnerKey).String()
		catalog := root.Catalog()
		r.CatalogKey = catalog[:]
		if !bytes.Equal(hkdf(t, r.Root, r.OwnerLabel), r.OwnerSeed) || !bytes.Equal(hkdf(t, r.Root, r.CatalogLabel), r.CatalogKey) {
			t.Errorf("root %x: the labels are others", r.Root)
		}
		ring := imported(t, r.IdentityText)
		if ring.OwnerKey().String() != r.OwnerID {
			t.Errorf("%s is the identity of %s", r.IdentityText, ring.OwnerKey())
		}
		r.Epochs = each(r.Epochs, func(e epoch) epoch {
			seed := root.Sealing(e.Epoch)
			e.Seed = seed[:]
			if !bytes.Equal(hkdf(t, r.Root, e.Label), e.Seed) {
				t.Errorf("root %x, epoch %d: the label is another", r.Root, e.Epoch)
			}
			text, err := bech32.EncodeFromBase256("age-secret-key-pq-", seed[:])
			if err != nil {
				t.Fatal(err)
			}
			e.AgeIdentity = strings.ToUpper(text)
			id, err := age.ParseHybridIdentity(e.AgeIdentity)
			if err != nil {
				t.Fatal(err)
			}
			_, to, err := crypt.NewIdentity(seed)
			if err != nil || to.String() != id.Recipient().String() {
				t.Errorf("%s: another recipient, %v", e.AgeIdentity, err)
			}
			e.AgeRecipient = id.Recipient().String()
			if e.Epoch == 0 && ring.Recipient.String() != e.AgeRecipient {
				t.Errorf("%s: manifests are sealed to another", r.IdentityText)
			}
			return e
		})
	}
	for i := range v.Nodes {
		n := &v.Nodes[i]
		n.NodeText = secretText(t, "datamesh-node-", n.Seed)
		file := filepath.Join(t.TempDir(), "node.key")
		if err := os.WriteFile(file, []byte(n.NodeText), 0o600); err != nil {
			t.Fatal(err)
		}
		key, err := keyring.NodeKey(file)
		if err != nil {
			t.Fatal(err)
		}
		n.PublicKey = hexa(key.Public().(ed25519.PublicKey))
		n.PeerID = datamesh.PeerID(n.PublicKey).String()
	}
	return v
}

// secretText is the text of a secret in a file: version 1 and the secret.
func secretText(t *testing.T, prefix string, secret []byte) string {
	t.Helper()
	words, err := bech32.ConvertBits(append([]byte{1}, secret...), 8, 5, true)
	if err != nil {
		t.Fatal(err)
	}
	text, err := bech32.EncodeM(prefix, words)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ToUpper(text)
}

// imported is the ring of an identity's text.
func imported(t *testing.T, text string) *keyring.Ring {
	t.Helper()
	src, dst := filepath.Join(t.TempDir(), "text"), filepath.Join(t.TempDir(), "identity")
	if err := os.WriteFile(src, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := keyring.At(dst).Import(src); err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.At(dst).Load()
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

type contextVectors struct {
	About    string `json:"about"`
	Contexts []struct {
		Context string `json:"context"`
		Use     string `json:"use"`
		OfEmpty hexa   `json:"of_nothing"`
		OfABC   hexa   `json:"of_abc"`
	} `json:"contexts"`
}

func (v contextVectors) compute(*testing.T) contextVectors {
	v.Contexts = slices.Clone(v.Contexts)
	for i := range v.Contexts {
		c := &v.Contexts[i]
		c.OfEmpty, c.OfABC = derived(c.Context, nil), derived(c.Context, []byte("abc"))
	}
	return v
}

func derived(context string, b []byte) hexa {
	sum := hash.Derive(context, b)
	return sum[:]
}
