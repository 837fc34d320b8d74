package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"datamesh/internal/api"
	"datamesh/internal/config"
	"datamesh/internal/errs"
)

// meetTimeout bounds how long the nodes of a demo may take to find each other.
const meetTimeout = 2 * time.Minute

// A process is a node of a demo.
type process struct {
	name  string
	home  config.Home
	cmd   *exec.Cmd
	out   io.Reader     // its standard output
	log   *bytes.Buffer // its standard error; not to be read before it has ended
	ready ready
	dead  bool
}

// startNodes starts a node that begins a mesh and n-1 that join it, and
// returns when all are ready.
func (d *demo) startNodes(ctx context.Context, n int) error {
	first, err := d.start(ctx, 1, "bootstrap", "--port", "0")
	if err != nil {
		return err
	}
	if err := first.waitReady(ctx); err != nil {
		return err
	}
	for i := 2; i <= n; i++ {
		if _, err := d.start(ctx, i, "service", "--port", "0"); err != nil {
			return err
		}
	}
	for _, p := range d.nodes[1:] {
		if err := p.waitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// start starts the i-th node. It is killed when ctx ends.
func (d *demo) start(ctx context.Context, i int, args ...string) (*process, error) {
	name := fmt.Sprintf("node-%d", i)
	p := &process{name: name, home: config.Home(d.path(name)), log: new(bytes.Buffer)}
	p.cmd = exec.CommandContext(ctx, d.exe, d.flags(name, args)...)
	p.cmd.Env = demoEnv("DATAMESH_MEMBER_HOST=" + name) // as if it were a machine of its own
	p.cmd.Stderr = p.log
	var err error
	if p.out, err = p.cmd.StdoutPipe(); err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		return nil, errs.New(errs.IO, "start %s: %w", name, err)
	}
	d.nodes = append(d.nodes, p)
	return p, nil
}

// flags returns the arguments of a command in the named home that joins the
// mesh through a node that lives, if one does.
func (d *demo) flags(home string, args []string) []string {
	flags := []string{"--json", "--home", d.path(home)}
	for _, p := range d.nodes {
		if !p.dead {
			flags = append(flags, "--bootstrap-peer", p.ready.PeerID.String(), "--bootstrap-addr", nearestAddr(p.ready.Addrs))
			break
		}
	}
	return append(flags, args...)
}

// demoEnv is this process's environment with the settings of a demo alone.
func demoEnv(settings ...string) []string {
	env := append(settings, "DATAMESH_MESH_LISTEN=127.0.0.1")
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "DATAMESH_") {
			env = append(env, entry)
		}
	}
	return env
}

// waitReady waits until the node says that it serves.
func (p *process) waitReady(ctx context.Context) error {
	err := json.NewDecoder(p.out).Decode(&p.ready)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	p.kill()
	return errs.New(errs.Unavailable, "%s did not start: %s", p.name, lastLine(p.log.Bytes()))
}

// kill ends the node as a power cut does, and removes the socket that it leaves.
func (p *process) kill() {
	if p.dead {
		return
	}
	p.dead = true
	p.cmd.Process.Kill()       // its error is that the process has ended
	p.cmd.Wait()               // its error is that it was killed
	os.Remove(p.home.Socket()) // which may lie elsewhere than the home, or never have been
}

func (d *demo) killAll() {
	for _, p := range d.nodes {
		p.kill()
	}
}

// waitForAll waits until every node sees all others alive.
func (d *demo) waitForAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, meetTimeout)
	defer cancel()
	for _, p := range d.nodes {
		if err := p.waitPeers(ctx, len(d.nodes)-1); err != nil {
			return err
		}
	}
	return nil
}

// waitPeers waits until the node sees so many others alive.
func (p *process) waitPeers(ctx context.Context, want int) error {
	client, err := api.Dial(ctx, p.home.Socket())
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	defer client.Close()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	alive := 0
	for {
		peers, err := client.Peers(ctx)
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if err == nil {
			alive = 0
			for _, peer := range peers.Peers {
				if peer.State == "alive" {
					alive++
				}
			}
		}
		if alive >= want {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errs.New(errs.Unavailable, "%s sees %d of %d others", p.name, alive, want)
		}
	}
}

// command runs a command of this program in the named home and reads its
// document into result, unless that is nil. Its errors keep their kind.
func (d *demo) command(ctx context.Context, home string, result any, args ...string) error {
	cmd := exec.CommandContext(ctx, d.exe, d.flags(home, args)...)
	cmd.Env = demoEnv("DATAMESH_PUT_GRACE=1m") // for all nodes, however busy the machine that they share is
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		var p api.Problem
		last := lastLine(log.Bytes())
		if json.Unmarshal(last, &p) == nil {
			return p.Err()
		}
		return errs.New(errs.Other, "%s: %w: %s", strings.Join(args, " "), err, last)
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(out.Bytes(), result); err != nil {
		return errs.New(errs.Serialization, "%s: %w", strings.Join(args, " "), err)
	}
	return nil
}

func lastLine(b []byte) []byte {
	b = bytes.TrimSpace(b)
	return b[bytes.LastIndexByte(b, '\n')+1:]
}
