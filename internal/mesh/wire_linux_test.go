package mesh

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"datamesh/internal/ring"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
)

// BenchmarkWire measures in bytes on the interface, with all headers and both ways, what
// a call of the ring costs beside its messages: without a connection, on a new stream, and
// on the one that is kept, and what a connection costs that nobody uses. Package sim counts
// by these. It wants an interface of its own:
//
//	TEST_DATAMESH_WIRE=1 unshare -rn sh -c 'ip link set lo up && go test ./internal/mesh -run ^$ -bench Wire -benchtime 10x'
func BenchmarkWire(b *testing.B) {
	if os.Getenv("TEST_DATAMESH_WIRE") != "1" {
		b.Skip("NOT TESTED: what calls cost on the wire needs an interface of its own: set TEST_DATAMESH_WIRE=1")
	}
	cfg := first(b)
	cfg.Probe = 10 * time.Hour // neither knows the other, and no ring asks
	var nodes []*Net
	for range 2 {
		cfg.Key = newKey(b)
		nodes = append(nodes, start(b, cfg))
	}
	from, to := nodes[0], nodes[1]
	call := ring.Call{To: to.ID(), Addrs: to.Addrs()[:1], Timeout: 10 * time.Second,
		Message: &ring.Message{Version: ring.Version, Kind: ring.KindPing}}
	size := float64(2 * len(call.Message.Encode()))
	ask := func() {
		if _, _, err := from.ask(call); err != nil {
			b.Fatal(err)
		}
	}
	var without, fresh, kept float64
	for b.Loop() {
		without += bytesOf(b, ask) - size
		kept += bytesOf(b, ask) - size
		fresh += bytesOf(b, func() {
			if s := from.kept.take(call.To); s != nil {
				s.Reset()
			}
			ask()
		}) - size
		if err := from.host.Network().ClosePeer(peer.ID(call.To.Multihash())); err != nil {
			b.Fatal(err)
		}
		settled(b)
		from.kept.take(call.To)
	}
	for _, n := range nodes {
		stop(b, n)
	}
	n := float64(b.N)
	b.ReportMetric(without/n, "B/call-and-dial")
	b.ReportMetric(fresh/n, "B/call-and-stream")
	b.ReportMetric(kept/n, "B/call")
	b.ReportMetric(idleBytes(b), "B/30s-idle")
}

// idleBytes returns what a connection carries that nobody uses, in the time of a keepalive.
func idleBytes(b *testing.B) float64 {
	var hosts []host.Host
	for range 2 {
		h, err := newHost(storage(b))
		if err != nil {
			b.Fatal(err)
		}
		defer h.Close()
		hosts = append(hosts, h)
	}
	to := peer.AddrInfo{ID: hosts[1].ID(), Addrs: hosts[1].Addrs()[:1]}
	if err := hosts[0].Connect(b.Context(), to); err != nil {
		b.Fatal(err)
	}
	settled(b)
	return bytesOf(b, func() { <-time.NewTimer(4 * 30 * time.Second).C }) / 4
}

// bytesOf returns what the interface has carried until all that follows is over.
func bytesOf(b *testing.B, do func()) float64 {
	before := carried(b)
	do()
	settled(b)
	return float64(carried(b) - before)
}

// settled waits until nothing goes over the interface for a second.
func settled(b *testing.B) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for last := int64(-1); ; <-tick.C {
		now := carried(b)
		if now == last {
			return
		}
		last = now
	}
}

// carried returns the bytes that the loopback interface has carried.
func carried(b *testing.B) (sent int64) {
	devices, err := os.ReadFile("/proc/self/net/dev")
	if err != nil {
		b.Fatal(err)
	}
	_, lo, _ := strings.Cut(string(devices), "lo:")
	var skip int64
	if _, err := fmt.Sscan(lo, &skip, &skip, &skip, &skip, &skip, &skip, &skip, &skip, &sent); err != nil {
		b.Fatal(err)
	}
	return sent
}
