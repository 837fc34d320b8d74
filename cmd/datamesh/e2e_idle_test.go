//go:build linux

package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// settling is after how many seconds all is over that comes with joining a mesh:
// each node finds out how it is reached, and by whom.
const settling = 30

// BenchmarkIdleMesh measures six nodes that have nothing to do, with the
// default period of probes, in a network namespace of their own: an operation
// is a second of it. For ten minutes, as docs/design.md has it:
//
//	go test ./cmd/datamesh -run '^$' -bench IdleMesh -benchtime 600x -timeout 20m
//
// Bytes are those of a node on the interface, with all headers, sent and
// received; half of them are what it sends. Processor time and memory are
// those of the node with the most.
func BenchmarkIdleMesh(b *testing.B) {
	m := emptyMesh(b, "DATAMESH_RING_PROBE=5s")
	namespace := newNamespace(b, "what an idle mesh costs")
	ip(b, "-n", namespace, "addr", "add", "10.77.0.1/24", "dev", "lo")
	m.wrap = []string{"ip", "netns", "exec", namespace}
	m.grow(b, 6)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for range settling {
		<-tick.C
	}
	before, began := m.usage(b), time.Now()
	for b.Loop() {
		<-tick.C
	}
	after, took := m.usage(b), time.Since(began)
	perNode := func(n int64) float64 { return float64(n) / float64(len(m.members)) / took.Seconds() }
	var busiest time.Duration
	var largest int64
	for i := range m.members {
		busiest = max(busiest, after.cpu[i]-before.cpu[i])
		largest = max(largest, after.memory[i])
	}
	b.ReportMetric(2*perNode(after.bytes-before.bytes)*86400/1e6, "MB/day")
	b.ReportMetric(perNode(after.bytes-before.bytes), "B/s-sent")
	b.ReportMetric(perNode(after.packets-before.packets), "packets/s-sent")
	b.ReportMetric(100*busiest.Seconds()/took.Seconds(), "%core")
	b.ReportMetric(float64(largest)/1e6, "MB")
}

// A usage is what a mesh in a namespace has used until now.
type usage struct {
	bytes, packets int64           // that all members have sent, which others received
	cpu            []time.Duration // by member
	memory         []int64         // the most in bytes, by member
}

func (m *mesh) usage(t testing.TB) (u usage) {
	t.Helper()
	for _, x := range m.members {
		pid := x.task.cmd.Process.Pid
		most, err := peakMemory(pid)
		if err != nil {
			t.Fatal(err)
		}
		u.cpu, u.memory = append(u.cpu, cpuTime(t, pid)), append(u.memory, most)
	}
	u.bytes, u.packets = sentOverLoopback(t, m.members[0].task.cmd.Process.Pid)
	return u
}

// sentOverLoopback returns what was sent over the loopback interface of a
// process's network namespace. All of it was received there, too.
func sentOverLoopback(t testing.TB, pid int) (bytes, packets int64) {
	t.Helper()
	devices, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/dev", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, lo, _ := strings.Cut(string(devices), "lo:")
	var skip int64 // of what was received there are eight numbers
	if _, err := fmt.Sscan(lo, &skip, &skip, &skip, &skip, &skip, &skip, &skip, &skip, &bytes, &packets); err != nil {
		t.Fatalf("%v in %q", err, devices)
	}
	return bytes, packets
}
