//go:build linux

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
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
type rival struct {
	l       *lab
	name    string
	env     []string
	servers []*exec.Cmd
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

func (v *rival) close() {
	for _, cmd := range v.servers {
		if cmd.Process != nil {
			cmd.Process.Kill() // its error is that it has ended
			cmd.Wait()         // its error is that it was killed
		}
	}
}

// timed runs a program that moves n bytes, and notes what it took; as no work
// nothing is noted.
func (v *rival) timed(ctx context.Context, work string, n int64, name string, args ...string) (string, error) {
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

// measureMinio puts the large file into MinIO with six drives, of which two may
// fail, and gets it, through rclone. It is one process, and encrypts nothing.
func measureMinio(ctx context.Context, l *lab) error {
	if !l.found(minio, "minio", "rclone") {
		return nil
	}
	file, err := l.largeFile()
	if err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	dir := filepath.Join(l.dir, "minio")
	const user, password = "bench", "benchbench"
	v := &rival{l: l, name: minio, env: []string{
		"MINIO_ROOT_USER=" + user, "MINIO_ROOT_PASSWORD=" + password, "MINIO_STORAGE_CLASS_STANDARD=EC:2", "MINIO_BROWSER=off", "MINIO_UPDATE=off",
		"RCLONE_CONFIG=" + filepath.Join(l.dir, "no-rclone.conf"),
		"RCLONE_CONFIG_M_TYPE=s3", "RCLONE_CONFIG_M_PROVIDER=Minio", "RCLONE_CONFIG_M_ENDPOINT=http://" + address,
		"RCLONE_CONFIG_M_ACCESS_KEY_ID=" + user, "RCLONE_CONFIG_M_SECRET_ACCESS_KEY=" + password,
	}}
	defer v.close()
	defer os.RemoveAll(dir)
	args := []string{"server", "--quiet", "--address", address}
	for i := range labNodes {
		drive := filepath.Join(dir, fmt.Sprint(i+1))
		if err := os.MkdirAll(drive, 0o700); err != nil {
			return err
		}
		args = append(args, drive)
	}
	if err := v.serve(v.command(context.WithoutCancel(ctx), "minio", args...)); err != nil {
		return err
	}
	began := time.Now()
	for {
		if _, err = v.run(ctx, "rclone", "--retries", "1", "mkdir", "m:bench"); err == nil {
			break
		}
		if time.Since(began) > patience {
			return err
		}
		if err := wait(ctx, time.Second); err != nil {
			return err
		}
	}
	out := filepath.Join(l.dir, "out-minio")
	defer os.Remove(out)
	for i := range l.o.runs + 1 {
		put, get := largePut, largeGet
		if i == 0 {
			put, get = "", "" // to warm up
		}
		if _, err := v.timed(ctx, put, l.o.size, "rclone", "copyto", file, "m:bench/large"); err != nil {
			return err
		}
		if _, err := v.timed(ctx, get, l.o.size, "rclone", "copyto", "m:bench/large", out); err != nil {
			return err
		}
		if err := sameFile(file, out); err != nil {
			return err
		}
		if err := os.Remove(out); err != nil {
			return err
		}
		if _, err := v.run(ctx, "rclone", "deletefile", "m:bench/large"); err != nil {
			return err
		}
	}
	return nil
}

// measureKubo adds the large file to one node of IPFS, and has another get it. Adding
// sends nothing; nothing is encrypted or coded.
func measureKubo(ctx context.Context, l *lab) error {
	if !l.found(kubo, "ipfs") {
		return nil
	}
	file, err := l.largeFile()
	if err != nil {
		return err
	}
	from, err := l.newKubo(ctx, "kubo-1")
	if err != nil {
		return err
	}
	defer from.close()
	to, err := l.newKubo(ctx, "kubo-2")
	if err != nil {
		return err
	}
	defer to.close()
	address, err := from.run(ctx, "ipfs", "id", "-f", "<addrs>")
	if err != nil {
		return err
	}
	address, _, _ = strings.Cut(address, "\n")
	for _, how := range [][]string{{"peering", "add"}, {"connect"}} { // again, if the connection breaks, and now
		if _, err := to.run(ctx, "ipfs", append(append([]string{"swarm"}, how...), address)...); err != nil {
			return err
		}
	}
	to.servers = append(to.servers, from.servers...) // both work when one gets from the other
	defer func() { to.servers = to.servers[:1] }()
	out := filepath.Join(l.dir, "out-kubo")
	defer os.Remove(out)
	for i := range l.o.runs + 1 {
		put, get := "add a large file to a node's own store", largeGet
		if i == 0 {
			put, get = "", "" // to warm up
		}
		id, err := from.timed(ctx, put, l.o.size, "ipfs", "add", "-Q", file)
		if err != nil {
			return err
		}
		err = to.getKubo(ctx, get, id, out)
		if errors.Is(err, errStuck) {
			l.report.notMeasured(kubo, "%v", err)
			return nil
		}
		if err != nil {
			return err
		}
		if err := sameFile(file, out); err != nil {
			return err
		}
		if err := os.Remove(out); err != nil {
			return err
		}
		if _, err := from.run(ctx, "ipfs", "pin", "rm", id); err != nil {
			return err
		}
		for _, v := range []*rival{from, to} { // so that the next round moves all again
			if _, err := v.run(ctx, "ipfs", "repo", "gc", "-q"); err != nil {
				return err
			}
		}
	}
	return nil
}

// errStuck is what became of a get that goes on and brings nothing, as those of Kubo do
// now and then where the machine is busy.
var errStuck = fmt.Errorf("a get has not ended within %v", patience)

// getKubo gets the large file, and notes what it took.
func (v *rival) getKubo(ctx context.Context, work, id, out string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errStuck)
	defer cancel()
	_, err := v.timed(ctx, work, v.l.o.size, "ipfs", "get", "--progress=false", "-o", out, id)
	if err != nil && errors.Is(context.Cause(ctx), errStuck) {
		return errStuck
	}
	return err
}

// newKubo starts a node of IPFS that knows of no other.
func (l *lab) newKubo(ctx context.Context, name string) (*rival, error) {
	v := &rival{l: l, name: kubo, env: []string{"IPFS_PATH=" + filepath.Join(l.dir, name), "IPFS_TELEMETRY=off"}}
	if _, err := v.run(ctx, "ipfs", "init", "--profile", "test"); err != nil {
		return nil, err
	}
	cmd := v.command(context.WithoutCancel(ctx), "ipfs", "daemon")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := v.serve(cmd); err != nil {
		return nil, err
	}
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
		v.close()
		return nil, fmt.Errorf("ipfs does not start: %w: %s", err, cmd.Stderr)
	}
	go io.Copy(io.Discard, out) // ends with the daemon
	return v, nil
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
