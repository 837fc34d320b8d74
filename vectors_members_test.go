package datamesh_test

import (
	"bytes"
	"crypto/ed25519"
	"slices"
	"testing"

	"datamesh"
	"datamesh/internal/ring"

	"github.com/google/go-cmp/cmp"
)

type memberVectors struct {
	About   string `json:"about"`
	Members []struct {
		Seed        hexa     `json:"seed"`
		Mesh        hexa     `json:"mesh"`
		Incarnation uint64   `json:"incarnation"`
		Role        int      `json:"role"`
		Site        string   `json:"site,omitempty"`
		Host        string   `json:"host,omitempty"`
		Owner       string   `json:"owner,omitempty"`
		Addrs       []string `json:"addrs,omitempty"`
		Capacity    int64    `json:"capacity"`
		Used        int64    `json:"used"`
		Nonce       hexa     `json:"nonce,omitempty"`
		Certificate hexa     `json:"certificate,omitempty"`

		Peer      hexa `json:"peer"`
		Body      hexa `json:"body"`
		Digest    hexa `json:"digest"`
		Signature hexa `json:"signature"`
		Encoded   hexa `json:"encoded"`
	} `json:"members"`
}

func (v memberVectors) compute(t *testing.T) memberVectors {
	v.Members = slices.Clone(v.Members)
	for i := range v.Members {
		x := &v.Members[i]
		mesh := datamesh.MeshID(x.Mesh)
		r, err := ring.Sign(ed25519.NewKeyFromSeed(x.Seed), ring.Record{Mesh: mesh, Seq: x.Incarnation, Role: ring.Role(x.Role),
			Labels: ring.Labels{Site: x.Site, Host: x.Host, Owner: x.Owner}, Addrs: x.Addrs,
			Capacity: x.Capacity, Used: x.Used, Nonce: x.Nonce, Certificate: x.Certificate})
		if err != nil {
			t.Fatal(err)
		}
		x.Peer, x.Signature, x.Encoded = r.Peer[:], r.Signature[:], r.Encode()
		x.Digest = derived("datamesh v1 member record", x.Body)
		if !bytes.Contains(x.Encoded, x.Body) || !ed25519.Verify(ed25519.PublicKey(x.Peer), x.Digest, x.Signature) {
			t.Errorf("member %d: its body is another", i)
		}
		if got, err := ring.DecodeRecord(x.Encoded, mesh); err != nil || !cmp.Equal(got, r) {
			t.Errorf("member %d: read as %v, %v", i, got, err)
		}
	}
	return v
}
