//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// An hour is the first one of somebody who does what README.md says: machines
// by their letters, and all that was typed on them.
type hour struct {
	dir   string // has a directory for each machine
	typed []string
}

// types types a line on a machine, and expects an exit status.
func (h *hour) types(t *testing.T, machine, line string, code int) outcome {
	t.Helper()
	o := h.begins(t, machine, line, nil).wait(t)
	if o.code != code {
		t.Fatalf("%s$ %s\nexit status %d, want %d: %s%s", machine, line, o.code, code, o.stdout, o.stderr)
	}
	return o
}

// begins types a line that goes on, and prints to out.
func (h *hour) begins(t *testing.T, machine, line string, out *lines) *task {
	t.Helper()
	h.typed = append(h.typed, machine+"$ "+line)
	words := strings.Fields(line)
	cmd := exec.Command(filepath.Join(h.dir, words[0]), words[1:]...)
	cmd.Dir = filepath.Join(h.dir, machine)
	if err := os.MkdirAll(cmd.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd.Env = demoEnv("DATAMESH_HOME="+filepath.Join(cmd.Dir, "home"), "DATAMESH_MEMBER_HOST="+machine)
	if out != nil {
		cmd.Stdout = out
	}
	return start(t, cmd)
}

// serves types a line that runs a node, and returns what it prints once it
// serves.
func (h *hour) serves(t *testing.T, machine, line string) (*task, string) {
	t.Helper()
	out := &lines{}
	node := h.begins(t, machine, line, out)
	eventually(t, machine+" serves", func() bool { return strings.HasSuffix(out.String(), "\n") || !node.running() })
	if !node.running() {
		t.Fatalf("%s$ %s\n%s", machine, line, &node.stderr)
	}
	return node, out.String()
}

// has puts a file on a machine.
func (h *hour) has(t *testing.T, machine, name string, content []byte) {
	t.Helper()
	dir := filepath.Join(h.dir, machine)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// holds checks that a machine has a file.
func (h *hour) holds(t *testing.T, machine, name string, content []byte) {
	t.Helper()
	if b, err := os.ReadFile(filepath.Join(h.dir, machine, name)); err != nil || !bytes.Equal(b, content) {
		t.Errorf("%s has %d bytes in %s, %v; want the %d that were put", machine, len(b), name, err, len(content))
	}
}

// found returns what a part of a text is, which must be in it.
func found(t *testing.T, text []byte, pattern string) string {
	t.Helper()
	match := regexp.MustCompile(`(?m)` + pattern).FindSubmatch(text)
	if match == nil {
		t.Fatalf("there is no %s in %s", pattern, text)
	}
	return string(match[len(match)-1])
}

// What README.md tells a new user to type works as it says, and what the test
// types is what README.md tells.
func TestFirstHour(t *testing.T) {
	t.Parallel()
	h := &hour{dir: t.TempDir()}
	install := exec.Command("go", "build", "-o", filepath.Join(h.dir, "datamesh"), "./cmd/datamesh")
	install.Dir = filepath.Join("..", "..")
	install.Env = append(os.Environ(), "GOFLAGS=-buildvcs=false")
	if o := start(t, install).wait(t); o.code != 0 {
		t.Fatalf("go build: %s", o.stderr)
	}
	h.typed = append(h.typed, "go build -o datamesh ./cmd/datamesh")

	photo, film := noisy(1, 3<<20), noisy(2, 20<<20)
	h.has(t, "A", "photo.jpg", photo)
	h.has(t, "A", "film.mp4", film)
	o := h.types(t, "A", "datamesh put photo.jpg", 0)
	found(t, o.stdout, `^survives +the loss of no peer$`)
	found(t, o.stderr, `^warning: this home has no mesh: .*datamesh bootstrap`)

	_, said := h.serves(t, "A", "datamesh bootstrap --port 0")
	join := found(t, []byte(said), `type: (datamesh service .*)$`)
	h.serves(t, "B", join)
	c, _ := h.serves(t, "C", join)

	typed := len(h.typed)
	eventually(t, "A sees both others", func() bool {
		h.typed = h.typed[:typed]
		return bytes.Count(h.types(t, "A", "datamesh peers", 0).stdout, []byte("alive")) == 2
	})
	o = h.types(t, "A", "datamesh put film.mp4", 0)
	found(t, o.stdout, `^survives +the loss of any 1 peer$`)
	id := found(t, o.stdout, `^id +(dmobj1\w+)$`)
	h.types(t, "A", "datamesh list", 0)
	h.types(t, "A", "datamesh info film.mp4", 0)

	typed = len(h.typed)
	eventually(t, "what was put first has spread", func() bool {
		h.typed = h.typed[:typed]
		return h.begins(t, "A", "datamesh health", nil).wait(t).code == 0
	})

	h.types(t, "A", "datamesh keys export ann.identity", 0)
	b, err := os.ReadFile(filepath.Join(h.dir, "A", "ann.identity"))
	if err != nil {
		t.Fatal(err)
	}
	h.has(t, "L", "ann.identity", b)
	h.types(t, "L", "datamesh keys import ann.identity", 0)
	words := strings.Fields(join)
	h.types(t, "L", fmt.Sprintf("datamesh networks use %s@%s", words[3], words[5]), 0)
	h.types(t, "L", "datamesh get "+id+" film.mp4", 0)
	h.holds(t, "L", "film.mp4", film)

	h.types(t, "A", "datamesh rm photo.jpg", 0)
	h.types(t, "A", "datamesh undelete photo.jpg", 0)

	c.kill()
	h.types(t, "A", "datamesh get film.mp4 again.mp4", 0)
	h.holds(t, "A", "again.mp4", film)
	h.types(t, "A", "datamesh get photo.jpg again.jpg", 0)
	h.holds(t, "A", "again.jpg", photo)
	var doctor outcome
	typed = len(h.typed)
	eventually(t, "the doctor has heard that C is gone", func() bool {
		h.typed = h.typed[:typed]
		doctor = h.begins(t, "A", "datamesh doctor", nil).wait(t)
		return !regexp.MustCompile(`(?m)^ok +members `).Match(doctor.stdout)
	})
	if doctor.code != 0 {
		t.Errorf("doctor ends with %d: %s%s", doctor.code, doctor.stdout, doctor.stderr)
	}
	found(t, doctor.stdout, `^warning +members +1 of 2 answer\n +hint: see who is away: datamesh peers$`)

	for _, line := range h.typed {
		for _, flag := range regexp.MustCompile(` --[a-z-]+`).FindAllString(line, -1) {
			if !slices.Contains([]string{" --port", " --bootstrap-peer", " --bootstrap-addr"}, flag) {
				t.Errorf("%s has a flag beyond names, addresses and homes", line)
			}
		}
	}
	if diff := cmp.Diff(inGeneral(h.typed), inGeneral(tutorial(t))); diff != "" {
		t.Errorf("what is typed and what README.md tells (-test +README.md):\n%s", diff)
	}
}

// tutorial returns the lines that README.md has new users type.
func tutorial(t *testing.T) (typed []string) {
	t.Helper()
	_, text, found := strings.Cut(read(t, "README.md"), "\n## Five minutes, three machines\n")
	text, _, ended := strings.Cut(text, "\n## ")
	if !found || !ended {
		t.Fatal("README.md has no tutorial")
	}
	for _, line := range regexp.MustCompile(`(?m)^(?:[A-Z]\$ |go build ).*`).FindAllString(text, -1) {
		line, _, _ = strings.Cut(line, " #")
		typed = append(typed, strings.TrimSpace(line))
	}
	return typed
}

// inGeneral replaces what differs from one mesh to another.
func inGeneral(lines []string) (all []string) {
	for _, line := range lines {
		for _, of := range [][2]string{{`12D3KooW[\w…]+`, "PEER_ID"}, {`/ip4/\S+/tcp/\d+`, "ADDR"}, {`dmobj1[\w…]+`, "ID"}, {`--port \d+`, "--port N"}} {
			line = regexp.MustCompile(of[0]).ReplaceAllString(line, of[1])
		}
		all = append(all, line)
	}
	return all
}
