//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"datamesh/internal/node"
)

// A member is a user whose home has a service.
type member struct {
	user
	flags []string // of the service: the command first
	task  *task    // nil before the first start
	ready ready
}

func (x *member) log() string { return x.home + ".log" }

// launch starts the service and returns a channel that receives what it says
// when it is ready.
func (x *member) launch(t testing.TB, flags ...string) <-chan ready {
	t.Helper()
	log, err := os.OpenFile(x.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	h := &herald{said: make(chan ready, 1)}
	cmd := x.command(flags...)
	cmd.Stdout, cmd.Stderr = h, log
	x.task = start(t, cmd)
	return h.said
}

// A herald passes on the one line that a service prints, its document.
type herald struct {
	line []byte
	said chan ready
}

func (h *herald) Write(b []byte) (int, error) {
	h.line = append(h.line, b...)
	if !bytes.HasSuffix(h.line, []byte("\n")) {
		return len(b), nil
	}
	var r ready
	if err := json.Unmarshal(h.line, &r); err != nil {
		return 0, err
	}
	h.said <- r
	return len(b), nil
}

// await waits until the service is ready.
func (x *member) await(t testing.TB, said <-chan ready) {
	t.Helper()
	select {
	case x.ready = <-said:
	case <-x.task.ended:
		t.Fatalf("%s: it ended before it was ready: %v", x.home, x.task.cmd.ProcessState)
	case <-time.After(guard):
		t.Fatalf("%s: it is not ready", x.home)
	}
}

// start starts the service with the flags it was added with, or with others.
func (x *member) start(t testing.TB, flags ...string) {
	t.Helper()
	if len(flags) == 0 {
		flags = x.flags
	}
	x.await(t, x.launch(t, flags...))
}

// startAll starts services at once, each with the flags it was added with.
func startAll(t testing.TB, members ...*member) {
	t.Helper()
	said := make([]<-chan ready, len(members))
	for i, x := range members {
		said[i] = x.launch(t, x.flags...)
	}
	for i, x := range members {
		x.await(t, said[i])
	}
}

// restart starts services again at once, without flags: they remember.
func restart(t testing.TB, members ...*member) {
	t.Helper()
	said := make([]<-chan ready, len(members))
	for i, x := range members {
		said[i] = x.launch(t, x.flags[0])
	}
	for i, x := range members {
		x.await(t, said[i])
	}
}

// kill ends services as a power cut does: all at once.
func kill(members ...*member) {
	for _, x := range members {
		x.task.cmd.Process.Kill() // its error is that the process has ended
	}
	for _, x := range members {
		x.task.kill()
	}
}

// pause makes the service silent, as a machine that hangs is.
func (x *member) pause(t testing.TB) {
	t.Helper()
	x.task.signal(t, syscall.SIGSTOP)
}

// door returns the flags to join the mesh by, through this member.
func (x *member) door() []string {
	return []string{"--bootstrap-peer", x.ready.PeerID.String(), "--bootstrap-addr", nearestAddr(x.ready.Addrs)}
}

// sees returns how many of the others are in that state to x.
func (x *member) sees(t testing.TB, state string, others ...*member) (n int) {
	t.Helper()
	peers := result[node.Peers](t, x.run(t, "peers"))
	for _, y := range others {
		if slices.ContainsFunc(peers.Peers, func(p node.Peer) bool { return p.PeerID == y.ready.PeerID && p.State == state }) {
			n++
		}
	}
	return n
}
