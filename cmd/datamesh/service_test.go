package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"datamesh/internal/node"
)

// command prepares a command in a home. This test binary is datamesh when it
// is called that.
func command(t *testing.T, home string, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, args...)
	cmd.Args[0] = "datamesh"
	cmd.Env = append(demoEnv(), "DATAMESH_HOME="+home)
	return cmd
}

// ask runs a command and reads its document.
func ask(t *testing.T, cmd *exec.Cmd, result any) {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.Args = append(cmd.Args, "--json")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v: %s", cmd.Args, err, &stderr)
	}
	if err := json.Unmarshal(out, result); err != nil {
		t.Fatalf("%v: %v in %q", cmd.Args, err, out)
	}
}

// serving starts a node and returns when it is ready.
func serving(t *testing.T, cmd *exec.Cmd) (*exec.Cmd, ready) {
	t.Helper()
	var log bytes.Buffer
	cmd.Args = append(cmd.Args, "--json")
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var r ready
	if err := json.NewDecoder(out).Decode(&r); err != nil {
		cmd.Wait()
		t.Fatalf("%v: %v: %s", cmd.Args, err, &log)
	}
	return cmd, r
}

func TestCommandsUseTheRunningNode(t *testing.T) {
	home := t.TempDir()
	service, began := serving(t, command(t, home, "bootstrap", "--port", "0"))
	if len(began.Addrs) == 0 {
		t.Errorf("it is ready without an address: %+v", began)
	}

	var id node.Identity
	ask(t, command(t, home, "id"), &id)
	if diff := cmp.Diff(began, ready{id.PeerID, id.Addrs, began.Mesh}); diff != "" {
		t.Errorf("id (-ready +got):\n%s", diff)
	}

	content := bytes.Repeat([]byte("content "), 100_000)
	put := command(t, home, "put", "-", "--name", "x")
	put.Stdin = bytes.NewReader(content)
	var stored node.Stored
	ask(t, put, &stored)
	got, err := command(t, home, "get", stored.ID.String(), "-").Output()
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("get: %v, %d of %d bytes", err, len(got), len(content))
	}
	var fetched node.Fetched
	out := filepath.Join(t.TempDir(), "out")
	ask(t, command(t, home, "get", "x", out), &fetched)
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, content) || fetched.Out != out {
		t.Errorf("get: %v, %d of %d bytes, out %s", err, len(got), len(content), fetched.Out)
	}

	second := command(t, home, "bootstrap")
	if second.Run(); second.ProcessState.ExitCode() != 11 {
		t.Errorf("a second node of the home: %v, want exit status 11", second.ProcessState)
	}

	if err := service.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := service.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v, want exit status 0", err)
	}
	ask(t, command(t, home, "id"), &id)
	if id.PeerID != began.PeerID || len(id.Addrs) != 0 {
		t.Errorf("id without the node: %v %v, want %v and no address", id.PeerID, id.Addrs, began.PeerID)
	}

	again, resumed := serving(t, command(t, home, "bootstrap"))
	if diff := cmp.Diff(began, resumed); diff != "" {
		t.Errorf("after a restart (-before +after):\n%s", diff)
	}
	if err := again.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := again.Wait(); err != nil {
		t.Errorf("after SIGINT: %v, want exit status 0", err)
	}
}

// end ends a node in order.
func end(t *testing.T, service *exec.Cmd) {
	t.Helper()
	if err := service.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := service.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v, want exit status 0", err)
	}
}

func TestMemberOfAnotherMeshIsRefusedThoughANodeRuns(t *testing.T) {
	door := func(r ready) []string {
		return []string{"--bootstrap-peer", r.PeerID.String(), "--bootstrap-addr", nearestAddr(r.Addrs)}
	}
	home := t.TempDir()
	service, mine := serving(t, command(t, home, "bootstrap", "--port", "0"))
	defer end(t, service)
	other, theirs := serving(t, command(t, t.TempDir(), "bootstrap", "--port", "0"))
	defer end(t, other)
	joined, mate := serving(t, command(t, t.TempDir(), append(door(mine), "service", "--port", "0")...))
	defer end(t, joined)
	for _, c := range []struct {
		name string
		door ready
		want int
	}{
		{"the node itself", mine, 0},
		{"a member of its mesh", mate, 0},
		{"a member of another", theirs, 6},
	} {
		cmd := command(t, home, append(door(c.door), "peers")...)
		if out, _ := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != c.want {
			t.Errorf("%s: %v, want exit status %d: %s", c.name, cmd.ProcessState, c.want, out)
		}
	}
}

func TestBootstrapWarnsThatTheMeshIsOpen(t *testing.T) {
	home := t.TempDir()
	const open = "warning: the mesh is open"
	for _, flags := range [][]string{{"--json"}, nil} {
		var log bytes.Buffer
		cmd := command(t, home, append([]string{"bootstrap"}, flags...)...)
		cmd.Stderr = &log
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			t.Errorf("%v: it is not ready: %v", flags, err)
		}
		end(t, cmd)
		if got, want := strings.Count(log.String(), open), 1-len(flags); got != want {
			t.Errorf("%v: it warned %d times, want %d: %s", flags, got, want, &log)
		}
	}
}

func TestInterruptedCommandExitsWith130(t *testing.T) {
	cmd := command(t, t.TempDir(), "put", "-")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// More than pipes hold: once it is written, the put is reading.
	if _, err := in.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if cmd.Wait(); cmd.ProcessState.ExitCode() != 130 {
		t.Errorf("got %v, want exit status 130", cmd.ProcessState)
	}
}
