//go:build linux

package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	labNodes = 6 // as many as an object of 4+2 has shards
	patience = 2 * time.Minute
)

// A lab is six nodes, and what is done with them.
type lab struct {
	o      options
	dir    string
	report *Report
	nodes  []*process // none before they are needed
	env    []string   // settings of all nodes
	client string     // home of the user whose commands are measured
	large  string     // a file of o.size random bytes; "" before it is needed
	traced bool       // what each process syncs is written down, in a file .trace beside its home
}

// newLab returns a lab whose nodes and files are in dir. It ends with close.
func newLab(o options, r *Report, dir string) *lab {
	return &lab{o: o, dir: dir, report: r, client: filepath.Join(dir, "client")}
}

// apart does a work with a lab of its own in a new directory, and removes it.
func (l *lab) apart(parent string, do func(*lab) error) (err error) {
	dir, err := os.MkdirTemp(parent, tempPattern)
	if err != nil {
		return fmt.Errorf("make a directory in %s: %w", parent, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	a := newLab(l.o, l.report, dir)
	defer func() { err = errors.Join(err, a.close()) }()
	return do(a)
}

// A process is one node.
type process struct {
	home  string
	cmd   *exec.Cmd
	peer  string
	addrs []string
	port  string   // that it listens on; "": any
	env   []string // settings of its own
}

// start has the six nodes run, if they do not.
func (l *lab) start(ctx context.Context) error {
	if l.nodes != nil {
		return nil
	}
	for i := range labNodes {
		l.nodes = append(l.nodes, &process{home: filepath.Join(l.dir, fmt.Sprintf("node-%d", i+1)), env: l.env})
		if err := l.launch(ctx, l.nodes[i]); err != nil {
			return err
		}
	}
	if err := l.settle(ctx); err != nil {
		return err
	}
	return l.do(ctx, nil, append(l.door(), "peers")...) // the client's home remembers the mesh
}

// launch starts a node, again if it has run before, and waits until it serves.
func (l *lab) launch(ctx context.Context, p *process) error {
	args := []string{"service", "--port", cmp.Or(p.port, "0")}
	if p == l.nodes[0] {
		args[0] = "bootstrap"
	} else {
		args = append(args, l.door()...)
	}
	log, err := os.OpenFile(p.home+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	p.cmd = l.command(context.WithoutCancel(ctx), p.home, args...)
	p.cmd.Env, p.cmd.Stderr = append(append(p.cmd.Env, "DATAMESH_MEMBER_HOST="+filepath.Base(p.home)), p.env...), log
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		return err
	}
	var ready struct {
		Peer  string   `json:"peer_id"`
		Addrs []string `json:"addrs"`
	}
	if err := within(ctx, p.cmd, func() error { return decode(out, &ready) }); err != nil {
		return fmt.Errorf("%s does not start: %w: %s", p.home, err, p.logged())
	}
	p.peer, p.addrs = ready.Peer, ready.Addrs
	return ctx.Err()
}

// within does something with a process that should take a moment. The process is killed
// when it takes longer than patience, or ctx ends.
func within(ctx context.Context, cmd *exec.Cmd, do func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { cmd.Process.Kill() }) // its error is that it has ended
	defer stop()
	if err := do(); err != nil {
		return errors.Join(err, ctx.Err())
	}
	return nil
}

// logged is the end of what a node has logged.
func (p *process) logged() string {
	b, _ := os.ReadFile(p.home + ".log") // without it there is nothing to tell
	return string(b[max(0, len(b)-1000):])
}

// door is how to join the mesh: through the first node that runs.
func (l *lab) door() []string {
	for _, p := range l.nodes {
		if p.runs() && p.peer != "" {
			return []string{"--bootstrap-peer", p.peer, "--bootstrap-addr", p.addrs[0]}
		}
	}
	return nil
}

func (p *process) runs() bool { return p.cmd != nil && p.cmd.ProcessState == nil }

// kill ends a node as a crash does, if it runs, and notes its memory. The kernel closes
// its sockets, so that those who talk with it know at once: see [lab.stopped].
func (l *lab) kill(p *process) error {
	if !p.runs() {
		return nil
	}
	peak, err := p.peak()
	p.cmd.Process.Kill() // its error is that it has ended
	p.cmd.Wait()         // its error is that it was killed
	if err == nil {
		l.report.add(allNodes, datameshIt, nodePeak, float64(peak)/(1<<20))
	}
	return err
}

// peak is how many bytes of memory a node has had at most since it was launched. It is
// an error if the node has ended by itself.
func (p *process) peak() (int64, error) {
	n, err := memoryPeak(p.cmd.Process.Pid)
	if err != nil {
		return 0, fmt.Errorf("%s has ended: %w: %s", p.home, err, p.logged())
	}
	return n, nil
}

// healthy is an error if a node has ended by itself.
func (l *lab) healthy() (err error) {
	for _, p := range l.nodes {
		if p.runs() {
			_, e := p.peak()
			err = errors.Join(err, e)
		}
	}
	return err
}

// settle waits until all nodes that run see each other alive.
func (l *lab) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	running := slices.DeleteFunc(slices.Clone(l.nodes), func(p *process) bool { return !p.runs() })
	for _, p := range running {
		for alive := 0; alive < len(running)-1; {
			var peers struct {
				Peers []struct {
					Peer  string `json:"peer_id"`
					State string `json:"state"`
				} `json:"peers"`
			}
			if err := l.doIn(ctx, p.home, &peers, "peers"); err != nil {
				return err
			}
			alive = 0
			for _, q := range peers.Peers {
				if q.State == "alive" && slices.ContainsFunc(running, func(p *process) bool { return p.peer == q.Peer }) {
					alive++
				}
			}
			if err := wait(ctx, 100*time.Millisecond); err != nil {
				return fmt.Errorf("%s sees %d of %d others alive: %w", p.home, alive, len(running)-1, err)
			}
		}
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close ends all nodes. It is an error if one has done so by itself.
func (l *lab) close() (err error) {
	for _, p := range l.nodes {
		err = errors.Join(err, l.kill(p))
	}
	l.nodes = nil
	return err
}

// A cost is what one command took.
type cost struct {
	wall  time.Duration
	first time.Duration // until the first byte of its output
	cpu   time.Duration // of the command
	nodes time.Duration // processor time of all nodes meanwhile
	peak  int64         // bytes of memory of the command
	own   int64         // and of bench, when it began it

	read, written int64 // bytes that all nodes have read from the disk, and written
}

// measure runs a command of the client, and returns what it took. out gets what it
// prints, and may be nil.
func (l *lab) measure(ctx context.Context, out io.Writer, args ...string) (cost, error) {
	return l.measureIn(ctx, l.client, out, args...)
}

// measureIn is measure in some home.
func (l *lab) measureIn(ctx context.Context, home string, out io.Writer, args ...string) (c cost, err error) {
	cmd := l.command(ctx, home, args...)
	before, err := l.nodesUsed()
	if err != nil {
		return c, err
	}
	if c.own, err = forgetPeak(); err != nil {
		return c, err
	}
	began := time.Now()
	pipe, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return c, err
	}
	if out == nil {
		out = io.Discard
	}
	var buf [64 << 10]byte
	n, err := pipe.Read(buf[:])
	c.first = time.Since(began)
	if _, err2 := out.Write(buf[:n]); err == nil && err2 == nil {
		_, err = io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{pipe}, buf[:]) // so that buf is used
	}
	if err2 := cmd.Wait(); err2 != nil {
		return c, fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err2, cmd.Stderr)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return c, err
	}
	c.wall = time.Since(began)
	after, err := l.nodesUsed()
	c.nodes, c.read, c.written = after.cpu-before.cpu, after.read-before.read, after.written-before.written
	c.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	c.peak = cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
	return c, err
}

// do runs a command of the client, and reads the document that it prints.
func (l *lab) do(ctx context.Context, doc any, args ...string) error {
	return l.doIn(ctx, l.client, doc, args...)
}

func (l *lab) doIn(ctx context.Context, home string, doc any, args ...string) error {
	cmd := l.command(ctx, home, args...)
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, cmd.Stderr)
	}
	if doc == nil {
		return nil
	}
	return json.Unmarshal(out, doc)
}

func (l *lab) command(ctx context.Context, home string, args ...string) *exec.Cmd {
	line := append([]string{l.o.exe, "--json", "--home", home}, args...)
	if l.traced && (home == l.client || args[0] == "bootstrap" || args[0] == "service") { // else the trace of a node would be gone
		line = append(tracer(home+traceSuffix), line...)
	}
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Env, cmd.Stderr, cmd.SysProcAttr = labEnv(), new(bytes.Buffer), withUs()
	return cmd
}

// withUs has a process end when this one does.
func withUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// labEnv is this process's environment with the settings of a lab alone.
func labEnv() []string {
	env := []string{"DATAMESH_MESH_LISTEN=127.0.0.1"}
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "DATAMESH_") {
			env = append(env, entry)
		}
	}
	return env
}

// nodesUsed is what all nodes that run have used since they began.
func (l *lab) nodesUsed() (all used, err error) {
	for _, p := range l.nodes {
		if p.runs() {
			u, err := usedBy(p.cmd.Process.Pid)
			if err != nil {
				return all, err
			}
			all.cpu += u.cpu
			all.read += u.read
			all.written += u.written
		}
	}
	return all, nil
}
