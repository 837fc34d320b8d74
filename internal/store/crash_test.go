package store

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"

	"datamesh/internal/errs"
	"datamesh/internal/storetest"
)

// crashDir and crashSeed tell a copy of the test that it is the one to die.
const (
	crashDir  = "STORE_CRASH_DIR"
	crashSeed = "STORE_CRASH_SEED"
)

// TestAcknowledgedShardsSurviveKill kills a process in the midst of puts and
// drops, again and again in one folder, and believes what it has said.
func TestAcknowledgedShardsSurviveKill(t *testing.T) {
	if dir := os.Getenv(crashDir); dir != "" {
		putUntilKilled(t, dir)
		return
	}
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(rand.Uint64(), 0))
	for round := range uint64(6) {
		said := runAndKill(t, dir, round<<32, 10+random.IntN(150))
		d := openDisk(t, dir, Options{})
		for seed, word := range said {
			s := crashSegment(t, seed)
			for index := range word.put {
				if word.dropping {
					continue // it may be there or not
				}
				s.Check(t, d, index)
			}
			if word.dropped {
				if err := d.Put(t.Context(), s.Descriptor, 0, s.Bytes[0]); !errors.Is(err, errs.Deleted) {
					t.Errorf("round %d: put after an acknowledged drop: %v", round, err)
				}
			}
		}
		checkAccount(t, d)
		closeDisk(t, d)
	}
}

// A word is what the process has said of a segment.
type word struct {
	put               map[int]bool
	dropping, dropped bool
}

// runAndKill starts the process, kills it when it has said so many lines, and
// returns all that it has said.
func runAndKill(t *testing.T, dir string, seed uint64, lines int) map[uint64]*word {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	child.Env = append(os.Environ(), crashDir+"="+dir, crashSeed+"="+strconv.FormatUint(seed, 10))
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer child.Wait() // its status is that it was killed
	said := make(map[uint64]*word)
	n := 0
	for scan := bufio.NewScanner(out); scan.Scan(); n++ {
		var what string
		var segment uint64
		var index int
		if _, err := fmt.Sscanf(scan.Text(), "%s %d %d.", &what, &segment, &index); err != nil {
			continue // the line at which it was cut off
		}
		w := said[segment]
		if w == nil {
			w = &word{put: make(map[int]bool)}
			said[segment] = w
		}
		switch what {
		case "put":
			w.put[index] = true
		case "dropping":
			w.dropping = true
		case "dropped":
			w.dropped = true
		}
		if n == lines {
			child.Process.Kill()
		}
	}
	if n < lines {
		t.Fatalf("the process ended after %d lines", n)
	}
	return said
}

// putUntilKilled puts and drops segments, and says each thing that has been
// acknowledged.
func putUntilKilled(t *testing.T, dir string) {
	seed, err := strconv.ParseUint(os.Getenv(crashSeed), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	d := openDisk(t, dir, Options{})
	var wait sync.WaitGroup
	for worker := range uint64(8) {
		wait.Go(func() {
			for n := seed + worker; n < seed+1<<16; n += 8 {
				s := crashSegment(t, n)
				for index := range s.Bytes {
					s.Put(t, d, index)
					fmt.Printf("put %d %d.\n", n, index)
				}
				if n%3 == 0 {
					fmt.Printf("dropping %d 0.\n", n)
					if err := d.Drop(t.Context(), s.Deletion(1)); err != nil {
						t.Errorf("drop: %v", err)
					}
					fmt.Printf("dropped %d 0.\n", n)
				}
			}
		})
	}
	wait.Wait()
}

func crashSegment(t *testing.T, seed uint64) *storetest.Sample {
	return storetest.Segment(t, seed, 2, 1, 2*[]int{small, large}[seed%2])
}
