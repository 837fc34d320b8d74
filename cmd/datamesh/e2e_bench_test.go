//go:build linux

package main

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"datamesh/internal/node"
)

// BenchmarkPutGetSixNodes measures commands over six nodes of this machine:
// MB/s as a user sees it, and the processor time of all seven processes.
func BenchmarkPutGetSixNodes(b *testing.B) {
	const size = 256 << 20
	m := newMesh(b, 6)
	owner := m.user(b)
	file := noiseFile(b, "x", 1, size)
	stored := result[node.Stored](b, owner.run(b, "put", file)) // and warms up
	b.Run("put", func(b *testing.B) {
		m.measure(b, size, func() *exec.Cmd { return owner.command("put", file) })
	})
	b.Run("get", func(b *testing.B) {
		out := file + ".out"
		m.measure(b, size, func() *exec.Cmd { return owner.command("get", stored.ID.String(), out, "--force") })
		if err := os.Remove(out); err != nil {
			b.Fatal(err)
		}
	})
}

// measure runs a command that moves so many bytes.
func (m *mesh) measure(b *testing.B, size int64, command func() *exec.Cmd) {
	b.SetBytes(size)
	before := m.cpuTime(b)
	var commands time.Duration
	for b.Loop() {
		k := start(b, command())
		if o := k.wait(b); o.code != 0 {
			b.Fatalf("%v exited with %d: %s", o.args, o.code, o.stderr)
		}
		commands += k.cmd.ProcessState.UserTime() + k.cmd.ProcessState.SystemTime()
	}
	nodes := m.cpuTime(b) - before
	gigabytes := float64(b.N) * float64(size) / 1e9
	b.ReportMetric((commands+nodes).Seconds()/gigabytes, "core-s/GB")
	b.ReportMetric(commands.Seconds()/gigabytes, "client-core-s/GB")
}

// cpuTime returns the processor time that all nodes have used.
func (m *mesh) cpuTime(b *testing.B) (sum time.Duration) {
	b.Helper()
	for _, x := range m.members {
		sum += cpuTime(b, x.task.cmd.Process.Pid)
	}
	return sum
}
