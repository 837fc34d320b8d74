package store

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/storetest"
)

var update = flag.Bool("update", false, "write the golden files anew")

const golden = "testdata/shard-v1"

// goldenSegment is the one whose shard 2 is the golden file.
func goldenSegment(t testing.TB) *storetest.Sample { return storetest.Segment(t, 20, 2, 1, 2*70_000-1) }

func TestShardFileIsTheGoldenOne(t *testing.T) {
	s := goldenSegment(t)
	d := openDisk(t, t.TempDir(), Options{})
	s.Put(t, d, 2)
	got, err := os.ReadFile(d.path(s.Key(2)))
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the file of shard 2 is not %s", golden)
	}
}

func TestGoldenShardFileIsUnderstood(t *testing.T) {
	s := goldenSegment(t)
	dir := t.TempDir()
	closeDisk(t, openDisk(t, dir, Options{}))
	file, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "shards", fileName(s.Key(2))[:2], fileName(s.Key(2)))
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, file, 0o600)); err != nil {
		t.Fatal(err)
	}
	d := openDisk(t, dir, Options{})
	s.Check(t, d, 2)
	checkAccount(t, d)
}

func TestHeaderRefusesWhatIsWrong(t *testing.T) {
	s := goldenSegment(t)
	good := encodeHeader(s.Key(2), format.EncodeDescriptor(s.Descriptor))
	with := func(at int, b ...byte) []byte {
		return append(append(bytes.Clone(good[:at]), b...), good[at+len(b):]...)
	}
	for what, c := range map[string]struct {
		header []byte
		kind   errs.Kind
	}{
		"nothing":                {nil, errs.Serialization},
		"another magic":          {with(0, 'D'), errs.Serialization},
		"a later version":        {with(8, 2), errs.Serialization},
		"a record without bound": {with(9, 0xff, 0xff, 0xff, 0xff), errs.Serialization},
		"a record cut short":     {good[:len(good)-1], errs.Serialization},
		"another signature":      {with(len(good)-1, good[len(good)-1]^1), errs.Authentication},
		"another segment":        {encodeHeader(storetest.Segment(t, 1, 2, 1, 10).Key(0), format.EncodeDescriptor(s.Descriptor)), errs.Integrity},
		"an index above k+m":     {encodeHeader(s.Key(3), format.EncodeDescriptor(s.Descriptor)), errs.Integrity},
	} {
		if _, err := readHeader(bytes.NewReader(c.header)); !errors.Is(err, c.kind) {
			t.Errorf("%s: got %v, want kind %s", what, err, c.kind.Name())
		}
	}
}

func FuzzHeader(f *testing.F) {
	file, err := os.ReadFile(golden)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file[:1024])
	f.Add([]byte(fileMagic + "\x01\x00\x00\x00\x01\xa0"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := readHeader(bytes.NewReader(b))
		if err != nil {
			return
		}
		again := encodeHeader(h.key, format.EncodeDescriptor(h.descriptor))
		if len(again) != h.size || !bytes.HasPrefix(b, again) {
			t.Errorf("header of %s does not encode to itself", name(h.key))
		}
	})
}
