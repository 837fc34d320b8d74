//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The works whose figures have a name of their own.
const (
	lostGet    = "get a large file to standard output, 2 holders have just died"
	stoppedGet = "get a large file to standard output, 2 holders have just been stopped"

	smallPut = "put objects of 4 KiB, 64 in flight"
	smallGet = "get objects of 4 KiB, 64 in flight"
	onePut   = "put 1 KiB through a running node"
)

// A work is something that is measured.
type work struct {
	name string
	do   func(context.Context, *lab) error
}

var works = []work{
	{"floors", measureFloors},
	{"idle", measureIdle},
	{"large", measureLarge},
	{"disk", measureDisk},
	{"losses", measureLosses},
	{"stalled", measureStalled},
	{"sizes", measureSizes},
	{"small", measureSmall},
	{"wide", measureWide},
	{"syncs", measureSyncs},
	{"many", measureMany},
	{"range", measureRange},
	{"command", measureCommand},
	{"backup", measureBackup},
	{"scale", measureScale},
}

func workNames() (names []string) {
	for _, w := range works {
		names = append(names, w.name)
	}
	return names
}

// chooseWorks returns those with the names, in their order; "" is all.
func chooseWorks(names string) (chosen []work, err error) {
	if names == "" {
		return works, nil
	}
	wanted := strings.Split(names, ",")
	for _, name := range wanted {
		if !slices.Contains(workNames(), name) {
			return nil, fmt.Errorf("there is no work %q: choose from %s", name, strings.Join(workNames(), ","))
		}
	}
	return slices.DeleteFunc(slices.Clone(works), func(w work) bool { return !slices.Contains(wanted, w.name) }), nil
}

// largeFile makes the file that is put, of random bytes.
func (l *lab) largeFile() (file string, err error) {
	if l.large != "" {
		return l.large, nil
	}
	file = filepath.Join(l.dir, "large")
	f, err := os.Create(file)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	noise := mathrand.NewChaCha8([32]byte{1})
	if _, err := io.CopyN(f, noise, l.o.size); err != nil {
		return "", err
	}
	l.large = file
	return file, f.Sync()
}

// stored is what put --json tells of an object.
type stored struct {
	ID string `json:"id"`
}

// putLarge stores the large file.
func (l *lab) putLarge(ctx context.Context) (id string, err error) {
	if err := l.start(ctx); err != nil {
		return "", err
	}
	file, err := l.largeFile()
	if err != nil {
		return "", err
	}
	var s stored
	err = l.do(ctx, &s, "put", file)
	return s.ID, err
}

// measureLarge puts and gets a large file, and compares what comes back. Rivals do the
// same in turn, so that what disturbs the machine disturbs all of them.
func measureLarge(ctx context.Context, l *lab) (err error) {
	id, err := l.putLarge(ctx) // which warms up
	if err != nil {
		return err
	}
	rivals := l.rivals(ctx)
	defer func() {
		for _, v := range rivals {
			err = errors.Join(err, v.close())
		}
	}()
	for _, v := range rivals {
		v.move(ctx, l.large, true)
	}
	for range l.o.runs {
		if err := l.moveLarge(ctx, id); err != nil {
			return err
		}
		for _, v := range rivals {
			v.move(ctx, l.large, false)
		}
	}
	return l.do(ctx, nil, "rm", id, "--now")
}

// moveLarge puts the large file once more, deletes that, and gets what was put before.
func (l *lab) moveLarge(ctx context.Context, id string) error {
	out := filepath.Join(l.dir, "out")
	defer os.Remove(out)
	var printed strings.Builder
	put, err := l.measure(ctx, &printed, "put", l.large)
	if err != nil {
		return err
	}
	l.moved(largePut, put)
	get, err := l.measure(ctx, nil, "get", id, out, "--force")
	if err != nil {
		return err
	}
	l.moved(largeGet, get)
	if err := sameFile(l.large, out); err != nil {
		return err
	}
	var s stored
	if err := decode(strings.NewReader(printed.String()), &s); err != nil {
		return err
	}
	return l.do(ctx, nil, "rm", s.ID, "--now")
}

// moved notes what it took to move the large file.
func (l *lab) moved(work string, c cost) {
	l.report.moved(work, datameshIt, l.o.size, c.wall, c.cpu+c.nodes)
	l.report.add(work, datameshIt, client, c.cpu.Seconds()/(float64(l.o.size)/1e9))
	l.peaked(work, c)
}

// peaked notes the memory of a command. The kernel says no less of any than what bench
// had itself when it began it.
func (l *lab) peaked(work string, c cost) {
	if c.peak <= c.own {
		l.report.notMeasured(memory, "bench itself has had %d MiB", c.own>>20)
		return
	}
	l.report.add(work, datameshIt, memory, float64(c.peak)/(1<<20))
}

// sameFile is an error unless both files have the same bytes.
func sameFile(a, b string) error {
	x, err := hashFile(a)
	if err != nil {
		return err
	}
	y, err := hashFile(b)
	if err == nil && x != y {
		err = fmt.Errorf("%s did not come back as it was", a)
	}
	return err
}

func hashFile(file string) (sum [sha256.Size]byte, err error) {
	f, err := os.Open(file)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return [sha256.Size]byte(h.Sum(nil)), err
}

// mostDead is how many holders of an object of 4+2 may die.
const mostDead = 2

// lossy names the get of a large file of whose holders n have just died.
func lossy(n int) string {
	if n == mostDead {
		return lostGet
	}
	return fmt.Sprintf("get a large file to standard output, %d holders have just died", n)
}

// measureLosses gets a large file at once after some of its holders have died, which
// nobody has noticed yet but by their sockets, and at once after as many have stopped.
// Then they come back. Before and after each it is got with all of them.
func measureLosses(ctx context.Context, l *lab) error {
	id, err := l.putLarge(ctx)
	if err != nil {
		return err
	}
	want, err := hashFile(l.large)
	if err != nil {
		return err
	}
	for i := range l.o.runs {
		if err := l.getOut(ctx, lossy(0), id, want); err != nil {
			return err
		}
		for n := range mostDead {
			dead := l.someNodes(i, n+1)
			if err := l.getWithout(ctx, dead, lossy(n+1), id, want); err != nil {
				return err
			}
			if err := l.getOut(ctx, lossy(0), id, want); err != nil {
				return err
			}
		}
		err := l.stopped(l.someNodes(i, mostDead), func() error { return l.getOut(ctx, stoppedGet, id, want) })
		if err == nil {
			err = l.settle(ctx)
		}
		if err == nil {
			err = l.getOut(ctx, lossy(0), id, want)
		}
		if err != nil {
			return err
		}
	}
	return l.do(ctx, nil, "rm", id, "--now")
}

// someNodes returns n nodes, others in each run, and never the first, by which commands join.
func (l *lab) someNodes(run, n int) (some []*process) {
	for k := range n {
		some = append(some, l.nodes[1+(run+k)%(labNodes-1)])
	}
	return some
}

// getWithout gets the large file right after nodes were killed, and has them come back.
func (l *lab) getWithout(ctx context.Context, dead []*process, work, id string, want [sha256.Size]byte) error {
	for _, p := range dead {
		if err := l.kill(p); err != nil {
			return err
		}
	}
	if err := l.getOut(ctx, work, id, want); err != nil {
		return err
	}
	for _, p := range dead {
		if err := l.launch(ctx, p); err != nil {
			return err
		}
	}
	return l.settle(ctx)
}

// getOut gets the large file by standard output, and then compares it.
func (l *lab) getOut(ctx context.Context, work, id string, want [sha256.Size]byte) error {
	out, err := os.Create(filepath.Join(l.dir, "out"))
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	c, err := l.measure(ctx, out, "get", id, "-")
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	l.report.add(work, datameshIt, speed, float64(l.o.size)/1e6/c.wall.Seconds())
	l.report.add(work, datameshIt, first, c.first.Seconds()*1000)
	got, err := hashFile(out.Name())
	if err == nil && got != want {
		err = fmt.Errorf("%s did not come back as it was", l.large)
	}
	return err
}

// measureCommand measures what a user waits for who stores a note.
func measureCommand(ctx context.Context, l *lab) error {
	if err := l.start(ctx); err != nil {
		return err
	}
	for range 21 {
		began := time.Now()
		if out, err := exec.CommandContext(ctx, l.o.exe, "version").CombinedOutput(); err != nil {
			return fmt.Errorf("version: %w: %s", err, out)
		}
		l.report.add("version", datameshIt, latency, time.Since(began).Seconds()*1000)
	}
	note := filepath.Join(l.dir, "note")
	if err := os.WriteFile(note, make([]byte, 1<<10), 0o600); err != nil {
		return err
	}
	for range 21 {
		began := time.Now()
		if err := l.doIn(ctx, l.nodes[1].home, nil, "put", note); err != nil {
			return err
		}
		l.report.add(onePut, datameshIt, latency, time.Since(began).Seconds()*1000)
	}
	return nil
}
