//go:build unix

package object_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/erasure"
	"datamesh/internal/hash"
)

// A meter counts the time that all cores of this process work on bytes, by
// what they do.
type meter struct {
	b      *testing.B
	bytes  int64
	phase  string
	since  time.Duration
	phases []string
	worked map[string]time.Duration
}

func newMeter(b *testing.B, phases ...string) *meter {
	return &meter{b: b, phases: phases, worked: map[string]time.Duration{}}
}

// begin ends what was measured and begins the next phase; "" is none.
func (m *meter) begin(phase string) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		m.b.Fatal(err)
	}
	now := time.Duration(u.Utime.Nano() + u.Stime.Nano())
	m.worked[m.phase] += now - m.since
	m.phase, m.since = phase, now
}

func (m *meter) end(n int) {
	m.begin("")
	m.bytes += int64(n)
}

func (m *meter) report() {
	var all time.Duration
	for _, phase := range m.phases {
		m.b.ReportMetric(m.worked[phase].Seconds()/(float64(m.bytes)/1e9), phase+"-s/GB")
		all += m.worked[phase]
	}
	m.b.ReportMetric(all.Seconds()/(float64(m.bytes)/1e9), "core-s/GB")
	m.b.SetBytes(m.bytes / int64(m.b.N))
}

// segmentCode is the default code.
func segmentCode(b *testing.B) *erasure.Code {
	b.Helper()
	code, err := erasure.New(4, 2)
	if err != nil {
		b.Fatal(err)
	}
	return code
}

// BenchmarkCodecPut is what a put does with each full segment, without disk
// and network: read it into its frames, seal them, code, hash all shards.
func BenchmarkCodecPut(b *testing.B) {
	code := segmentCode(b)
	text := make([]byte, datamesh.MaxContent)
	rand.NewChaCha8([32]byte{}).Read(text)
	buf := make([]byte, code.BufferLen(datamesh.MaxSealed))
	m := newMeter(b, "fill", "seal", "code", "hash")
	for b.Loop() {
		m.begin("fill")
		n, err := crypt.Fill(buf, bytes.NewReader(text), len(text))
		if err != nil {
			b.Fatal(err)
		}
		m.begin("seal")
		_, sealed := crypt.Seal(buf, n)
		m.begin("code")
		shards, err := code.Encode(buf, len(sealed))
		if err != nil {
			b.Fatal(err)
		}
		m.begin("hash")
		for _, s := range shards {
			hash.Shard(s)
		}
		m.end(n)
	}
	m.report()
}

// BenchmarkCodecGet is what a get does with each full segment of which two
// data shards are lost: check the hashes of four, rebuild two and check theirs,
// open the frames, write their content.
func BenchmarkCodecGet(b *testing.B) {
	code := segmentCode(b)
	buf := make([]byte, code.BufferLen(datamesh.MaxSealed))
	n, err := crypt.Fill(buf, rand.NewChaCha8([32]byte{}), datamesh.MaxContent)
	if err != nil {
		b.Fatal(err)
	}
	key, sealed := crypt.Seal(buf, n)
	if _, err := code.Encode(buf, len(sealed)); err != nil {
		b.Fatal(err)
	}
	arrived := bytes.Clone(buf)
	ids := make([]datamesh.ShardID, 6)
	for i, s := range code.Cut(buf, len(sealed)) {
		ids[i] = hash.Shard(s)
	}
	m := newMeter(b, "hash", "code", "open")
	for b.Loop() {
		b.StopTimer()
		copy(buf, arrived) // the network has done that
		shards := code.Cut(buf, len(sealed))
		shards[0], shards[2] = shards[0][:0], shards[2][:0]
		b.StartTimer()
		m.begin("hash")
		for i, s := range shards {
			if len(s) > 0 && hash.Shard(s) != ids[i] {
				b.Fatal("a shard is damaged")
			}
		}
		m.begin("code")
		if err := code.Rebuild(shards, true); err != nil {
			b.Fatal(err)
		}
		m.begin("hash")
		for _, i := range []int{0, 2} {
			if hash.Shard(shards[i]) != ids[i] {
				b.Fatal("a shard was rebuilt otherwise")
			}
		}
		m.begin("code")
		if err := code.CheckPadding(buf, len(sealed)); err != nil {
			b.Fatal(err)
		}
		m.begin("open")
		n, err := crypt.Open(key, buf[:len(sealed)])
		if err != nil {
			b.Fatal(err)
		}
		if err := crypt.Drain(io.Discard, buf, n); err != nil {
			b.Fatal(err)
		}
		m.end(n)
	}
	m.report()
}
