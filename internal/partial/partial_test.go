package partial

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/errs"
)

var object = datamesh.ObjectID{1}

// begin begins a get of a film to out, and reports where it goes on.
func begin(t *testing.T, dir, out string, size int64) (*Get, int64) {
	t.Helper()
	g := Begin(dir, "film", out)
	t.Cleanup(g.Abort)
	id, from := g.Before()
	if from > 0 && id != object {
		t.Fatalf("before: %v", id)
	}
	if err := g.Open(object, "film", size, from, out, 0o600); err != nil {
		t.Fatal(err)
	}
	return g, from
}

func write(t *testing.T, g *Get, b []byte) {
	t.Helper()
	if _, err := g.Write(b); err != nil {
		t.Fatal(err)
	}
}

// files returns what is in directories.
func files(t *testing.T, dirs ...string) (names []string) {
	t.Helper()
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
	}
	return names
}

func TestInterruptedGetGoesOn(t *testing.T) {
	dir, place := t.TempDir(), t.TempDir()
	out := filepath.Join(place, "out")
	content := bytes.Repeat([]byte("0123456789abcdef"), Worth/16+1)
	size := int64(len(content))

	g, from := begin(t, dir, out, size)
	if from != 0 {
		t.Errorf("the first get goes on from %d", from)
	}
	write(t, g, content[:1000])
	if !g.Leave() {
		t.Fatal("it cannot be resumed")
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("the file is there")
	}
	left, err := List(dir)
	if err != nil || len(left) != 1 || left[0].Done != 1000 || left[0].Name != "film" || left[0].Out != out {
		t.Fatalf("left %+v, %v", left, err)
	}
	f, err := os.OpenFile(left[0].Temp, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("written after the last checkpoint, and so not to count")
	f.Close()

	g, from = begin(t, dir, out, size)
	if from != 1000 {
		t.Fatalf("it goes on from %d, want 1000", from)
	}
	if left, err := List(dir); err != nil || len(left) > 0 {
		t.Errorf("under way, and listed: %+v, %v", left, err)
	}
	write(t, g, content[1000:])
	if err := g.Commit(false); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if got := files(t, dir, place); len(got) != 1 {
		t.Errorf("left behind: %v", got)
	}
}

func TestCheckpointsOutliveACrash(t *testing.T) {
	dir, place := t.TempDir(), t.TempDir()
	out := filepath.Join(place, "out")
	g, _ := begin(t, dir, out, 2*step)
	write(t, g, make([]byte, step))
	write(t, g, make([]byte, 100))
	if err := g.settle(); err != nil {
		t.Fatal(err)
	}
	g.lock.Close() // as the end of the process does
	again, from := begin(t, dir, out, 2*step)
	if from != step {
		t.Errorf("it goes on from %d, want %d", from, step)
	}
	again.Abort()
	if got := files(t, dir, place); len(got) > 0 {
		t.Errorf("left behind: %v", got)
	}
}

// What a checkpoint could not make durable is not taken for durable later.
func TestFailedCheckpointFailsTheGet(t *testing.T) {
	for name, end := range map[string]func(*Get) bool{
		"commit": func(g *Get) bool { return g.Commit(true) == nil },
		"leave":  (*Get).Leave,
	} {
		t.Run(name, func(t *testing.T) {
			dir, place := t.TempDir(), t.TempDir()
			g, _ := begin(t, dir, filepath.Join(place, "out"), 3*step)
			if err := os.Mkdir(g.path+noteFile, 0o700); err != nil { // no note can be put there
				t.Fatal(err)
			}
			write(t, g, make([]byte, step))
			if err := g.settle(); err == nil {
				t.Fatal("the checkpoint did not fail")
			}
			os.Remove(g.path + noteFile)
			if _, err := g.Write(make([]byte, step)); err == nil {
				t.Error("the next one did not either")
			}
			if end(g) {
				t.Error("it ended well")
			}
			if got := files(t, dir, place); len(got) > 0 {
				t.Errorf("left behind: %v", got)
			}
		})
	}
}

func TestSmallGetsLeaveNothing(t *testing.T) {
	dir, place := t.TempDir(), t.TempDir()
	g, _ := begin(t, dir, filepath.Join(place, "out"), Worth-1)
	write(t, g, make([]byte, 1000))
	if g.Leave() {
		t.Error("it can be resumed")
	}
	if got := files(t, dir, place); len(got) > 0 {
		t.Errorf("left behind: %v", got)
	}
}

func TestTwoGetsToOnePlace(t *testing.T) {
	dir, place := t.TempDir(), t.TempDir()
	out := filepath.Join(place, "out")
	a, _ := begin(t, dir, out, 2*Worth)
	b, _ := begin(t, dir, out, 2*Worth)
	write(t, a, []byte("a"))
	write(t, b, []byte("b"))
	if b.Leave() {
		t.Error("the second can be resumed")
	}
	if err := a.Commit(false); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(out); err != nil || string(got) != "a" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestForgetAndSweep(t *testing.T) {
	dir, place := t.TempDir(), t.TempDir()
	for _, name := range []string{"a", "b"} {
		g, _ := begin(t, dir, filepath.Join(place, name), 2*Worth)
		write(t, g, make([]byte, 1000))
		g.Leave()
	}
	left, err := List(dir)
	if err != nil || len(left) != 2 {
		t.Fatalf("left %+v, %v", left, err)
	}
	if err := Forget(dir, left[0].ID); err != nil {
		t.Error(err)
	}
	if err := Forget(dir, left[0].ID); errs.KindOf(err) != errs.FileNotFound {
		t.Errorf("forget it twice: %v", err)
	}
	if err := Sweep(dir, time.Hour); err != nil {
		t.Error(err)
	}
	if left, err := List(dir); err != nil || len(left) != 1 {
		t.Errorf("left %+v, %v", left, err)
	}
	if err := Sweep(dir, -time.Second); err != nil {
		t.Error(err)
	}
	if got := files(t, dir, place); len(got) > 0 {
		t.Errorf("left behind: %v", got)
	}
}

// Others who list and sweep what was left, such as a service, are elsewhere.
func TestGetToARelativeNameCanBeFoundFromElsewhere(t *testing.T) {
	dir, place := t.TempDir(), t.TempDir()
	t.Chdir(place)
	g, _ := begin(t, dir, "out", 2*Worth)
	write(t, g, make([]byte, 1000))
	if !g.Leave() {
		t.Fatal("it cannot be resumed")
	}
	t.Chdir(t.TempDir())
	if err := Sweep(dir, time.Hour); err != nil {
		t.Error(err)
	}
	if left, err := List(dir); err != nil || len(left) != 1 || left[0].Out != filepath.Join(place, "out") {
		t.Errorf("left %+v, %v", left, err)
	}
	t.Chdir(place)
	if _, from := begin(t, dir, "out", 2*Worth); from != 1000 {
		t.Errorf("it goes on from %d, want 1000", from)
	}
}

// What is not seen from here may be seen by the user.
func TestSweepLeavesYoungNotes(t *testing.T) {
	dir, place := t.TempDir(), t.TempDir()
	g, _ := begin(t, dir, filepath.Join(place, "out"), 2*Worth)
	write(t, g, make([]byte, 1000))
	g.Leave()
	if err := os.Rename(place, place+".hidden"); err != nil {
		t.Fatal(err)
	}
	if err := Sweep(dir, time.Hour); err != nil {
		t.Error(err)
	}
	if err := os.Rename(place+".hidden", place); err != nil {
		t.Fatal(err)
	}
	if left, err := List(dir); err != nil || len(left) != 1 {
		t.Errorf("left %+v, %v", left, err)
	}
}

func TestDamagedNoteBeginsAnew(t *testing.T) {
	for _, text := range []string{"", "{", `{"version":2}`, `{"version":1,"temp":"/nowhere","done":5,"size":9}`, string(make([]byte, maxNote+1))} {
		dir, place := t.TempDir(), t.TempDir()
		out := filepath.Join(place, "out")
		g, _ := begin(t, dir, out, 2*Worth)
		write(t, g, make([]byte, 1000))
		g.Leave()
		if err := os.WriteFile(g.path+noteFile, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, from := begin(t, dir, out, 2*Worth); from != 0 {
			t.Errorf("with the note %.20q it goes on from %d", text, from)
		}
	}
}

func TestNothingElseIsRemovedWhateverANoteSays(t *testing.T) {
	dir, place := t.TempDir(), t.TempDir()
	for _, name := range []string{"precious", ".datamesh-x.tmp"} {
		precious := filepath.Join(place, name)
		if err := os.WriteFile(precious, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, out := range []string{filepath.Join(dir, "out"), filepath.Join(place, "out")} {
			note, err := json.Marshal(Note{Version: version, Object: object, Size: 1, Out: out, Temp: precious, Done: 1})
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "0123456789abcdef"+noteFile), note, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := Sweep(dir, time.Hour); err != nil {
				t.Fatal(err)
			}
			ours := name != "precious" && filepath.Dir(out) == place
			if _, err := os.Stat(precious); (err == nil) == ours {
				t.Errorf("%s beside %s: %v", name, out, err)
			}
		}
	}
}
