//go:build linux

package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const nobodyID = 65534 // the uid and gid of an ordinary user

// publicMesh is an empty mesh whose directory and program others can use.
func publicMesh(t *testing.T) *mesh {
	t.Helper()
	m := emptyMesh(t)
	dir, err := os.MkdirTemp("", "datamesh-public-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(dir, "datamesh")
	if err := copyFile(m.exe, exe); err != nil {
		t.Fatal(err)
	}
	m.dir, m.exe = dir, exe
	return m
}

func copyFile(from, to string) error {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(w, r); err != nil {
		return err
	}
	return w.Close()
}

// runAs runs a command as another user, in a directory that all may read.
func (u *user) runAs(t *testing.T, uid int, args ...string) outcome {
	t.Helper()
	cmd := u.command(args...)
	cmd.Dir = "/"
	if uid != os.Geteuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	return start(t, cmd).wait(t)
}

func TestBadConfigurationsChangeNothingForAnyUser(t *testing.T) {
	t.Parallel()
	users := []int{os.Geteuid()}
	if os.Geteuid() == 0 {
		users = append(users, nobodyID)
	}
	m := publicMesh(t)
	for _, uid := range users {
		for name, file := range map[string]string{
			"truncated":   "[store]\ncapacity = \"50",
			"corrupt":     "\x7fELF\x00\x00",
			"unknown key": "[ring]\nprob = \"1s\"\n",
			"wrong type":  "[mesh]\nport = \"1\"\n",
			"newer":       "version = 2\n",
			"no UTF-8":    "# caf\xe9\n",
			"10 MiB":      strings.Repeat("# 16 bytes long\n", 10<<20/16),
		} {
			u := m.newcomer()
			path := filepath.Join(u.home, "config.toml")
			if err := os.Mkdir(u.home, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, p := range []string{u.home, path} {
				if err := os.Chown(p, uid, uid); err != nil && uid != os.Geteuid() {
					t.Fatal(err)
				}
			}
			u.refusesConfig(t, uid, name)
			if diff := cmp.Diff(map[string]string{"config.toml": file}, u.files(t)); diff != "" {
				t.Errorf("%s, user %d (-before +after):\n%.500s", name, uid, diff)
			}
		}
	}
}

// refusesConfig runs commands that need the configuration or would change it.
func (u *user) refusesConfig(t *testing.T, uid int, name string) {
	t.Helper()
	for _, args := range [][]string{{"list"}, {"put", "/etc/hostname"}, {"config", "set", "log.level", "debug"}, {"config", "unset", "log.level"},
		{"networks"}, {"networks", "use", "local:1"}, {"service"}, {"config", "validate"}} {
		p := problem(t, u.runAs(t, uid, args...), 10)
		if !strings.Contains(p.Error, filepath.Join(u.home, "config.toml")) {
			t.Errorf("%s, user %d: %v says %q", name, uid, args, p.Error)
		}
	}
}

func TestConfigurationThatIsNoReadableFileIsRefused(t *testing.T) {
	t.Parallel()
	m := publicMesh(t)
	u := m.newcomer()
	if err := os.MkdirAll(filepath.Join(u.home, "config.toml"), 0o755); err != nil {
		t.Fatal(err)
	}
	u.refusesConfig(t, os.Geteuid(), "a directory")

	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: that a configuration which this user may not read is refused needs root")
	}
	u = m.newcomer()
	if err := os.Mkdir(u.home, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(u.home, "config.toml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	u.refusesConfig(t, nobodyID, "unreadable")
}

func TestReadOnlyDiskIsSaidAndNothingIsLost(t *testing.T) {
	t.Parallel()
	const why = "NOT TESTED: what commands do on a read-only disk needs root and unshare: %v"
	if os.Geteuid() != 0 {
		t.Skipf(why, "this is not root")
	}
	m := newMesh(t, 1)
	u := m.newcomer()
	result[any](t, u.run(t, "config", "init"))
	result[any](t, u.run(t, "networks", "add", "home", m.members[0].peer()))
	before := u.files(t)

	ro := *m // whose homes are read-only
	ro.wrap = []string{"unshare", "--mount", "sh", "-c", `mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"`, u.home}
	if out, err := exec.Command(ro.wrap[0], append(ro.wrap[1:], "true")...).CombinedOutput(); err != nil {
		t.Skipf(why, string(out))
	}
	reader := &user{mesh: &ro, home: u.home}
	for _, args := range [][]string{{"config", "set", "mesh.port", "4001"}, {"networks", "add", "work", m.members[0].peer()}, {"networks", "remove", "home"},
		{"networks", "use", "home"}} {
		if p := problem(t, reader.run(t, args...), 1); p.Kind != "IO" || !strings.Contains(p.Error, "read-only") {
			t.Errorf("%v: got %+v, want IO and why", args, p)
		}
	}
	result[any](t, reader.run(t, "config", "show"))
	result[any](t, reader.run(t, "config", "set", "mesh.port", "4001", "--dry-run"))
	result[any](t, reader.run(t, "paths"))
	reader.tests(t, 0, "home")
	if diff := cmp.Diff(before, u.files(t)); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
}
