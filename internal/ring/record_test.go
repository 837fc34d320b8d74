package ring

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew; only for a new version")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: got %x, want %x, %v", name, got, want, err)
	}
}

func fullRecord(t testing.TB) *Record {
	r, err := Sign(testKey(1), Record{Mesh: testMesh, Seq: 1767225600000, Role: Storage,
		Labels: Labels{"home", "nas", "ann"}, Addrs: []string{"/ip4/10.0.0.1/tcp/40871", "/ip6/::1/tcp/40871"},
		Capacity: 1 << 40, Used: 1 << 30, Nonce: []byte("nonce"), Certificate: []byte("certificate")})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRecordKeepsItsBytes(t *testing.T) {
	r := fullRecord(t)
	golden(t, "record.v1", r.Encode())
	got, err := DecodeRecord(r.Encode(), testMesh)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(r, got); d != "" {
		t.Error(d)
	}
	place := r.Placement()
	golden(t, "placement.v1", place[:])
}

func TestATamperedRecordIsRefused(t *testing.T) {
	good := fullRecord(t).Encode()
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if r, err := DecodeRecord(bad, testMesh); err == nil {
			t.Fatalf("byte %d changed: %+v", i, r)
		}
	}
	if _, err := DecodeRecord(good, datamesh.MeshID{2}); !errors.Is(err, errs.Authentication) {
		t.Errorf("another mesh: %v", err)
	}
	forged := *fullRecord(t)
	forged.Used++
	if _, err := DecodeRecord(forged.Encode(), testMesh); !errors.Is(err, errs.Authentication) {
		t.Errorf("forged: %v", err)
	}
	if _, err := DecodeRecord(append(good, make([]byte, MaxRecord)...), testMesh); !errors.Is(err, errs.Serialization) {
		t.Errorf("too long: %v", err)
	}
}

func TestRecordLimits(t *testing.T) {
	for what, change := range map[string]func(*Record){
		"label":       func(r *Record) { r.Labels.Host = strings.Repeat("x", MaxLabel+1) },
		"utf-8":       func(r *Record) { r.Labels.Site = "\xff" },
		"addresses":   func(r *Record) { r.Addrs = make([]string, MaxAddrs+1) },
		"address":     func(r *Record) { r.Addrs = []string{strings.Repeat("x", MaxAddr+1)} },
		"no address":  func(r *Record) { r.Addrs = []string{""} },
		"nonce":       func(r *Record) { r.Nonce = make([]byte, MaxNonce+1) },
		"certificate": func(r *Record) { r.Certificate = make([]byte, MaxCertificate+1) },
		"role":        func(r *Record) { r.Role = 3 },
		"incarnation": func(r *Record) { r.Seq = 0 },
		"capacity":    func(r *Record) { r.Capacity = -1 },
		"used":        func(r *Record) { r.Used = -1 },
	} {
		r := *fullRecord(t)
		change(&r)
		if _, err := Sign(testKey(1), r); !errors.Is(err, errs.Invalid) {
			t.Errorf("%s: signed, %v", what, err)
		}
		if _, err := DecodeRecord(format.Marshal(signedRecord{format.Marshal(r), r.Signature}), testMesh); !errors.Is(err, errs.Serialization) {
			t.Errorf("%s: read, %v", what, err)
		}
	}
}

func TestTheGreatestRecordHasRoom(t *testing.T) {
	r := *fullRecord(t)
	long := strings.Repeat("x", MaxLabel)
	r.Labels = Labels{long, long, long}
	r.Addrs = nil
	for range MaxAddrs {
		r.Addrs = append(r.Addrs, strings.Repeat("x", MaxAddr))
	}
	r.Nonce, r.Certificate = make([]byte, MaxNonce), make([]byte, MaxCertificate)
	s, err := Sign(testKey(1), r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := DecodeRecord(s.Encode(), testMesh); err != nil {
		t.Error(err)
	}
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add(fullRecord(f).Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := DecodeRecord(b, testMesh); err == nil && !bytes.Equal(r.Encode(), b) {
			t.Errorf("%x encodes as %x", b, r.Encode())
		}
	})
}
