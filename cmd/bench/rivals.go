//go:build linux

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Names of other systems.
const (
	minio = "minio"
	kubo  = "kubo"
)

// A rival is another system: its servers, and the environment of all its programs.
// It ends with close.
type rival struct {
	l       *lab
	name    string
	putName string // of the work of putting the large file
	dir     string // holds all that it stores
	env     []string
	servers []*exec.Cmd

	// turn puts a file and gets it as out, as works of those names, and deletes it; nil:
	// it cannot.
	turn func(ctx context.Context, file, out, put, get string) error
}

// found says whether the programs of a rival are there and wanted. It notes if not.
func (l *lab) found(name string, programs ...string) bool {
	if !l.o.rivals {
		l.report.notMeasured(name, "-rivals=false leaves it out")
		return false
	}
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			l.report.notMeasured(name, "there is no %s on the PATH", program)
			return false
		}
	}
	return true
}

func (v *rival) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env, cmd.Stderr, cmd.SysProcAttr = append(os.Environ(), v.env...), new(bytes.Buffer), withUs()
	return cmd
}

// run runs a program to its end, and returns what it has printed.
func (v *rival) run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := v.command(ctx, name, args...)
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, cmd.Stderr)
	}
	return strings.TrimSpace(string(out)), nil
}

// serve starts a server.
func (v *rival) serve(cmd *exec.Cmd) error {
	v.servers = append(v.servers, cmd)
	return cmd.Start()
}

func (v *rival) close() error {
	for _, cmd := range v.servers {
		if cmd.Process != nil {
			cmd.Process.Kill() // its error is that it has ended
			cmd.Wait()         // its error is that it was killed
		}
	}
	return os.RemoveAll(v.dir)
}

// measure runs a program that moves n bytes, and notes what it took; as no work
// nothing is noted.
func (v *rival) measure(ctx context.Context, work string, n int64, name string, args ...string) (string, error) {
	before, err := v.serverTime()
	if err != nil {
		return "", err
	}
	cmd := v.command(ctx, name, args...)
	began := time.Now()
	out, err := cmd.Output()
	wall := time.Since(began)
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, cmd.Stderr)
	}
	after, err := v.serverTime()
	if err != nil {
		return "", err
	}
	if work != "" {
		v.l.report.moved(work, v.name, n, wall, after-before+cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
	}
	return strings.TrimSpace(string(out)), nil
}

func (v *rival) serverTime() (all time.Duration, err error) {
	for _, cmd := range v.servers {
		t, err := cpuTime(cmd.Process.Pid)
		if err != nil {
			return 0, err
		}
		all += t
	}
	return all, nil
}

// rivals starts those that are found, and warms them up.
func (l *lab) rivals(ctx context.Context) (all []*rival) {
	for _, start := range []func(context.Context, *lab) (*rival, error){startMinio, startKubo} {
		if v, err := start(ctx, l); v != nil {
			all = append(all, v)
			v.noteError(err)
		}
	}
	return all
}

// move has a rival put the large file and get it. As the first turn, to warm up, nothing
// is noted. A rival that cannot is left out from then on.
func (v *rival) move(ctx context.Context, file string, warm bool) {
	if v.turn == nil {
		return
	}
	put, get := v.putName, largeGet
	if warm {
		put, get = "", ""
	}
	out := filepath.Join(v.dir, "out")
	defer os.Remove(out)
	v.noteError(v.turn(ctx, file, out, put, get))
}

func (v *rival) noteError(err error) {
	if err != nil {
		v.l.report.notMeasured(v.name, "%v", err)
		v.turn = nil
	}
}

// startMinio starts MinIO with six drives, of which two may fail, which rclone talks
// with. It is one process, and encrypts nothing. It is nil if it is not there.
func startMinio(ctx context.Context, l *lab) (*rival, error) {
	if !l.found(minio, "minio", "rclone") {
		return nil, nil
	}
	const user, password = "bench", "benchbench"
	v := &rival{l: l, name: minio, putName: largePut, dir: filepath.Join(l.dir, "minio")}
	port, err := freePort()
	if err != nil {
		return v, err
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	v.env = []string{
		"MINIO_ROOT_USER=" + user, "MINIO_ROOT_PASSWORD=" + password, "MINIO_STORAGE_CLASS_STANDARD=EC:2", "MINIO_BROWSER=off", "MINIO_UPDATE=off",
		"RCLONE_CONFIG=" + filepath.Join(v.dir, "no-rclone.conf"),
		"RCLONE_CONFIG_M_TYPE=s3", "RCLONE_CONFIG_M_PROVIDER=Minio", "RCLONE_CONFIG_M_ENDPOINT=http://" + address,
		"RCLONE_CONFIG_M_ACCESS_KEY_ID=" + user, "RCLONE_CONFIG_M_SECRET_ACCESS_KEY=" + password,
	}
	args := []string{"server", "--quiet", "--address", address}
	for i := range labNodes {
		drive := filepath.Join(v.dir, fmt.Sprint(i+1))
		if err := os.MkdirAll(drive, 0o700); err != nil {
			return v, err
		}
		args = append(args, drive)
	}
	if err := v.serve(v.command(context.WithoutCancel(ctx), "minio", args...)); err != nil {
		return v, err
	}
	began := time.Now()
	for {
		if _, err = v.run(ctx, "rclone", "--retries", "1", "mkdir", "m:bench"); err == nil {
			break
		}
		if time.Since(began) > patience {
			return v, err
		}
		if err := wait(ctx, time.Second); err != nil {
			return v, err
		}
	}
	v.turn = func(ctx context.Context, file, out, put, get string) error {
		if _, err := v.measure(ctx, put, l.o.size, "rclone", "copyto", file, "m:bench/large"); err != nil {
			return err
		}
		if _, err := v.measure(ctx, get, l.o.size, "rclone", "copyto", "m:bench/large", out); err != nil {
			return err
		}
		if err := sameFile(file, out); err != nil {
			return err
		}
		_, err := v.run(ctx, "rclone", "deletefile", "m:bench/large")
		return err
	}
	return v, nil
}

// startKubo starts two nodes of IPFS: the large file is added to one, and the other gets
// it. Adding sends nothing; nothing is encrypted or coded. It is nil if it is not there.
func startKubo(ctx context.Context, l *lab) (*rival, error) {
	if !l.found(kubo, "ipfs") {
		return nil, nil
	}
	v := &rival{l: l, name: kubo, putName: "add a large file to a node's own store", dir: filepath.Join(l.dir, "kubo")}
	from, err := v.newKubo(ctx, "1")
	if err != nil {
		return v, err
	}
	to, err := v.newKubo(ctx, "2")
	if err != nil {
		return v, err
	}
	address, err := from.run(ctx, "ipfs", "id", "-f", "<addrs>")
	if err != nil {
		return v, err
	}
	address, _, _ = strings.Cut(address, "\n")
	for _, how := range [][]string{{"peering", "add"}, {"connect"}} { // again, if the connection breaks, and now
		if _, err := to.run(ctx, "ipfs", append(append([]string{"swarm"}, how...), address)...); err != nil {
			return v, err
		}
	}
	to.servers = append(to.servers, from.servers...) // both work when one gets from the other
	v.turn = func(ctx context.Context, file, out, put, get string) error {
		id, err := from.measure(ctx, put, l.o.size, "ipfs", "add", "-Q", file)
		if err != nil {
			return err
		}
		if err := to.getKubo(ctx, get, id, out); err != nil {
			return err
		}
		if err := sameFile(file, out); err != nil {
			return err
		}
		if _, err := from.run(ctx, "ipfs", "pin", "rm", id); err != nil {
			return err
		}
		for _, k := range []*rival{from, to} { // so that the next round moves all again
			if _, err := k.run(ctx, "ipfs", "repo", "gc", "-q"); err != nil {
				return err
			}
		}
		return nil
	}
	return v, nil
}

// getKubo gets the large file, and notes what it took. Gets of Kubo go on now and then
// where the machine is busy, and bring nothing.
func (v *rival) getKubo(ctx context.Context, work, id, out string) error {
	stuck := fmt.Errorf("a get has not ended within %v", patience)
	ctx, cancel := context.WithTimeoutCause(ctx, patience, stuck)
	defer cancel()
	_, err := v.measure(ctx, work, v.l.o.size, "ipfs", "get", "--progress=false", "-o", out, id)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// newKubo starts a node of IPFS that knows of no other, and ends with v.
func (v *rival) newKubo(ctx context.Context, name string) (*rival, error) {
	k := &rival{l: v.l, name: kubo, env: []string{"IPFS_PATH=" + filepath.Join(v.dir, name), "IPFS_TELEMETRY=off"}}
	if err := os.MkdirAll(v.dir, 0o700); err != nil {
		return nil, err
	}
	if _, err := k.run(ctx, "ipfs", "init", "--profile", "test"); err != nil {
		return nil, err
	}
	cmd := k.command(context.WithoutCancel(ctx), "ipfs", "daemon")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := k.serve(cmd); err != nil {
		return nil, err
	}
	v.servers = append(v.servers, cmd)
	err = within(ctx, cmd, func() error {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if strings.Contains(lines.Text(), "Daemon is ready") {
				return nil
			}
		}
		return cmp.Or(lines.Err(), io.ErrUnexpectedEOF)
	})
	if err != nil {
		return nil, fmt.Errorf("ipfs does not start: %w", err)
	}
	go io.Copy(io.Discard, out) // ends with the daemon
	return k, nil
}

// freePort returns a port that nothing listens on.
func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	port := listener.Addr().(*net.TCPAddr).Port
	return port, listener.Close()
}
