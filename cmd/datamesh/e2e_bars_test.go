//go:build unix

package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"

	"datamesh/internal/node"
)

// people prepares a command as people type it: without --json.
func (u *user) people(args ...string) *exec.Cmd {
	cmd := u.command(args...)
	cmd.Args = append(cmd.Args[:1], cmd.Args[2:]...)
	return cmd
}

// shown returns all that was written to the screen.
func (s *screen) shown() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.seen)
}

// skip passes by what the screen has shown so far.
func (s *screen) skip() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mark = len(s.seen)
}

// redraws waits until the bars are drawn twice, of which the second time began
// after the call.
func (s *screen) redraws(t *testing.T) {
	t.Helper()
	s.skip()
	for range 2 {
		s.shows(t, cursorUp)
	}
}

const cursorUp = "\x1b[J" // clears what the bars are drawn over

var colours = regexp.MustCompile(`\x1b\[[0-9;]*m`)

// A put whose source has no end yet shows its three bars for as long as that
// takes, whatever becomes of the terminal.
func TestBarsLiveThroughAResize(t *testing.T) {
	t.Parallel()
	owner := newMesh(t, 1).user(t)
	for _, setting := range []string{"NO_COLOR=1", "COLORTERM=truecolor"} {
		t.Run(setting, func(t *testing.T) {
			path, reads := fifo(t)
			cmd := owner.people("put", "--compress", "off", path, "--name", setting)
			cmd.Env = append(cmd.Env, setting)
			s := onScreen(t, cmd)
			source := reads()
			defer source.Close()
			if _, err := source.Write(make([]byte, 40<<20)); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				for _, stage := range []string{"sealed", "sent", "confirmed"} {
					s.shows(t, stage)
				}
			}
			for _, columns := range []uint16{20, 5, 200} {
				if err := pty.Setsize(s.tty, &pty.Winsize{Rows: 10, Cols: columns}); err != nil {
					t.Fatal(err)
				}
				s.redraws(t)
			}
			s.shows(t, "confirmed") // whole again
			source.Close()
			s.shows(t, "survives")
			if o := s.task.wait(t); o.code != 0 {
				t.Errorf("exit status %d: %s", o.code, s.shown())
			}
			if found := colours.FindString(s.shown()); found != "" {
				t.Errorf("there are colours: %q", found)
			}
			if list := result[node.List](t, owner.run(t, "list")); list.Objects[0].Size != 40<<20 {
				t.Errorf("list: %+v", list.Objects[0])
			}
		})
	}
}

func TestCtrlCInATransferLeavesNothingPartialAndTheSameGoesOn(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 1)
	owner := m.user(t)
	slow := m.members[0].slowDoor(t, 80<<20) // or it is over before it is interrupted
	const size = 256 << 20
	file := filepath.Join(t.TempDir(), "film")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.Copy(f, noise(1, 32<<20)); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil { // the rest is a hole
		t.Fatal(err)
	}

	s := onScreen(t, owner.people(append(slow, "put", "--compress", "off", file)...))
	s.shows(t, "sealed")
	eventually(t, "a segment is confirmed", func() bool { return confirmedMiB(t, s.shown()) > 3*24 || !s.task.running() })
	s.types(t, ctrlC)
	s.shows(t, "datamesh: interrupted")
	s.shows(t, "hint: type the same again: ")
	if o := s.task.wait(t); o.code != 130 {
		t.Fatalf("put: exit status %d, want 130: %s", o.code, s.shown())
	}
	if list := result[node.List](t, owner.run(t, "list")); len(list.Objects) > 0 {
		t.Errorf("half a put is in the catalog: %+v", list.Objects)
	}
	left := owner.interrupted(t)
	if len(left) != 1 || left[0].Sealed == 0 {
		t.Fatalf("interrupted: %+v", left)
	}
	stored := result[node.Stored](t, owner.run(t, "put", "--compress", "off", file))
	if stored.Resumed < left[0].Sealed || stored.Size != size {
		t.Errorf("the same again: %+v, after %+v", stored, left[0])
	}

	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	s = onScreen(t, owner.people(append(slow, "get", "film", out)...))
	s.shows(t, "received")
	eventually(t, "there is a checkpoint", func() bool {
		notes, err := filepath.Glob(filepath.Join(owner.home, "gets", "*.json"))
		return err == nil && len(notes) > 0 || !s.task.running()
	})
	s.types(t, ctrlC)
	s.shows(t, "datamesh: interrupted")
	s.shows(t, "hint: type the same again: ")
	if o := s.task.wait(t); o.code != 130 {
		t.Fatalf("get: exit status %d, want 130: %s", o.code, s.shown())
	}
	if _, err := os.Lstat(out); err == nil {
		t.Error("half a file has the name of the whole")
	}
	left = owner.interrupted(t)
	if len(left) != 1 || left[0].Received == 0 {
		t.Fatalf("interrupted: %+v", left)
	}
	fetched := result[node.Fetched](t, owner.run(t, "get", "film", out))
	if fetched.Resumed != left[0].Received {
		t.Errorf("the same again: %+v, after %+v", fetched, left[0])
	}
	if err := sameFile(file, out); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// Where a bar has no room, its numbers still do not run into each other.
func TestBarsKeepNumbersApartOnANarrowTerminal(t *testing.T) {
	for _, cols := range []uint16{30, 40, 50, 80} {
		screen, tty, err := pty.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer screen.Close()
		if err := pty.Setsize(tty, &pty.Winsize{Rows: 20, Cols: cols}); err != nil {
			t.Fatal(err)
		}
		b := newBars(tty, node.GetTransfer)
		b.set(node.Transfer{Kind: node.GetTransfer, Received: 600 << 20, Size: 1400 << 20})
		first := make([]byte, 4096)
		n, err := screen.Read(first)
		if err != nil {
			t.Fatal(err)
		}
		go io.Copy(io.Discard, screen)
		b.close()
		tty.Close()
		if line := string(first[:n]); regexp.MustCompile(`iB[^ /\r\n]`).MatchString(line) {
			t.Errorf("%d columns: %q", cols, line)
		}
	}
}

var confirmedBar = regexp.MustCompile(`confirmed +([0-9.]+) MiB /`)

// confirmedMiB returns what the bar of that last said. With three segments of
// 24 MiB of shards under way, more than those means that one is stored.
func confirmedMiB(t *testing.T, shown string) float64 {
	t.Helper()
	all := confirmedBar.FindAllStringSubmatch(shown, -1)
	if len(all) == 0 {
		return 0
	}
	n, err := strconv.ParseFloat(all[len(all)-1][1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// What goes to a pipe is data alone. Bars are for a terminal, and for those
// who are not to be left in quiet.
func TestPipesGetDataAndQuietTerminalsNoBars(t *testing.T) {
	t.Parallel()
	owner := newMesh(t, 1).user(t)
	content := noisy(1, 40<<20)
	owner.put(t, content, "--name", "film")
	for _, c := range []struct {
		name string
		args []string
		term bool // standard error is one
		bars bool
	}{
		{"terminal", []string{"get", "film", "-"}, true, true},
		{"quiet terminal", []string{"get", "film", "-", "--quiet"}, true, false},
		{"pipe", []string{"get", "film", "-"}, false, false},
		{"quiet pipe", []string{"get", "film", "-", "--quiet"}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			data, stdout, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer data.Close()
			cmd := owner.people(c.args...)
			cmd.Stdout = stdout
			told := &lines{}
			var get *task
			said := told.String
			if c.term {
				s := onScreen(t, cmd)
				get, said = s.task, s.shown
			} else {
				cmd.Stderr = told
				get = start(t, cmd)
			}
			stdout.Close()
			first := make([]byte, 1)
			if _, err := io.ReadFull(data, first); err != nil { // no more, so that the get has to wait
				t.Fatal(err)
			}
			eventually(t, "it has taken longer than bars wait for", func() bool {
				get.signal(t, syscall.SIGUSR1)
				return regexp.MustCompile(`get: .* received after ([3-9]|\d\d+)s`).MatchString(said())
			})
			rest, err := io.ReadAll(data)
			if err != nil || !bytes.Equal(append(first, rest...), content) {
				t.Errorf("standard output has %d bytes, %v; want the content", len(rest)+1, err)
			}
			if o := get.wait(t); o.code != 0 {
				t.Errorf("exit status %d: %s", o.code, said())
			}
			if has := strings.Contains(said(), "\x1b["); has != c.bars {
				t.Errorf("bars: %v, want %v: %.500q", has, c.bars, said())
			}
		})
	}

	path, reads := fifo(t)
	s := onScreen(t, owner.people("put", path, "--name", "quiet", "--quiet"))
	source := reads()
	if _, err := source.Write(content); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the put has taken longer than bars wait for", func() bool {
		s.task.signal(t, syscall.SIGUSR1)
		return regexp.MustCompile(`put: .* after ([3-9]|\d\d+)s`).MatchString(s.shown())
	})
	source.Close()
	if o := s.task.wait(t); o.code != 0 || strings.Contains(s.shown(), "\x1b[") {
		t.Errorf("quiet put: exit status %d, %.500q", o.code, s.shown())
	}
}

// A backup and a restore show how far they are, of how much.
func TestBackupsShowHowFarTheyAre(t *testing.T) {
	onlyInFull(t, "how far long backups are")
	t.Parallel()
	m := newMesh(t, 1)
	owner := m.user(t)
	slow := m.members[0].slowDoor(t, 20<<20) // or it is over before anything is shown
	dir := t.TempDir()
	for i := range 3 {
		if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), noisy(byte(i), 24<<20), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"backup", dir, "--name", "b"}, {"restore", "b", filepath.Join(t.TempDir(), "out")}, {"restore", "b", "--verify"}} {
		s := onScreen(t, owner.people(append(slow, args...)...))
		s.shows(t, "of 3 files")
		s.shows(t, "MiB / 72.0 MiB")
		s.shows(t, "name")
		if o := s.task.wait(t); o.code != 0 {
			t.Errorf("%v: exit status %d: %s", args, o.code, s.shown())
		}
	}
}
