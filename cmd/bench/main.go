//go:build linux

// Bench measures DataMesh on this machine, with one command:
//
//	go run ./cmd/bench
//
// It builds the program, starts six nodes as processes of their own, and measures
// commands as their users run them: time, processor time and memory. Beside that
// stand floors, measured in the same run: what the same bytes would take if nothing
// was done to them but what has to be, with perfect use of all cores. Where the
// programs of other systems are found, they do the same work, in turn.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// options are the flags.
type options struct {
	dir    string        // holds all that is stored; "": memory
	disk   string        // a directory on the disk of the work "disk"; "": dir, or one of the user's
	exe    string        // of DataMesh; "": built from this source
	only   string        // names of works, with commas; "": all
	runs   int           // of each command
	size   int64         // bytes of the large file
	small  int           // objects of the works "small" and "syncs"
	many   int64         // objects of the work "many"
	gets   int64         // objects of the work "stalled"
	json   string        // file for the report
	plots  string        // directory for the plots
	rivals bool          // measure other systems, too
	rest   time.Duration // of nodes whose rest is measured
}

func main() {
	var o options
	flag.StringVar(&o.dir, "dir", "", "`DIR` on the disk to measure (default: a directory in memory, /dev/shm)")
	flag.StringVar(&o.disk, "disk", "", "`DIR` on the disk that the work disk measures (default: that of -dir, or the user's cache directory)")
	flag.StringVar(&o.exe, "datamesh", "", "`FILE` of the program to measure (default: it is built)")
	flag.StringVar(&o.only, "only", "", "`WORKS` to do, with commas between them (default: all: "+strings.Join(workNames(), ",")+")")
	flag.IntVar(&o.runs, "runs", 5, "`N` runs of each command")
	flag.Int64Var(&o.size, "size", 512<<20, "`BYTES` of the large file")
	flag.IntVar(&o.small, "small", 2000, "`N` objects of the works small and syncs")
	flag.Int64Var(&o.many, "many", 100_000, "`N` objects of the work many, of which two cores put some 143 a second: 100000 take twelve minutes; fewer are not judged")
	flag.Int64Var(&o.gets, "gets", 200, "`N` objects of the work stalled; p99 of less than 100 is the most")
	flag.StringVar(&o.json, "json", "", "`FILE` for the report")
	flag.StringVar(&o.plots, "plots", "", "`DIR` for plots (SVG)")
	flag.BoolVar(&o.rivals, "rivals", true, "have ipfs, minio with rclone, and restic do the same, where they are on the PATH")
	flag.DurationVar(&o.rest, "rest", time.Minute, "`TIME` for which nodes at rest are looked at")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := bench(ctx, o, flag.Args())
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// String is those flags that figures depend on.
func (o options) String() string {
	return fmt.Sprintf("-runs %d -size %d -small %d -many %d -gets %d -rest %v -only %q -rivals=%v", o.runs, o.size, o.small, o.many, o.gets, o.rest, o.only, o.rivals)
}

// bench does all works, and prints what came of them.
func bench(ctx context.Context, o options, args []string) (err error) {
	chosen, err := chooseWorks(o.only)
	switch {
	case err != nil:
		return err
	case len(args) > 0:
		return fmt.Errorf("unknown argument %q: see -h", args[0])
	case o.runs < 1 || o.runs > 100:
		return fmt.Errorf("-runs %d: give from 1 to 100", o.runs)
	case o.size < 1<<20:
		return fmt.Errorf("-size %d: give at least %d", o.size, 1<<20)
	case o.small < 1:
		return fmt.Errorf("-small %d: give at least 1", o.small)
	case o.many < 10:
		return fmt.Errorf("-many %d: give at least 10", o.many)
	case o.gets < 1:
		return fmt.Errorf("-gets %d: give at least 1", o.gets)
	case o.rest < time.Second:
		return fmt.Errorf("-rest %v: give at least a second", o.rest)
	}
	parent := o.dir
	if parent == "" {
		parent = "/dev/shm"
	}
	r := &Report{Version: reportVersion, Began: time.Now().UTC(), Machine: thisMachine(), Flags: o.String()}
	// Tracers are children of no process that lives: they become ours.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	err = newLab(o, r, "").apart(parent, func(l *lab) error { return l.all(ctx, chosen) })
	if len(r.Works) == 0 {
		return err
	}
	r.Seconds = time.Since(r.Began).Seconds()
	r.judge()
	r.print(os.Stdout)
	if o.plots != "" {
		err = errors.Join(err, r.plot(o.plots))
	}
	if o.json != "" {
		err = errors.Join(err, writeReport(o.json, r))
	}
	return err
}

// all does all works, in the lab's directory. Those that end with an error keep no other
// from being done.
func (l *lab) all(ctx context.Context, chosen []work) (err error) {
	l.report.Programs = versions(ctx)
	if l.o.exe == "" {
		if l.o.exe, err = build(ctx, l.dir); err != nil {
			return err
		}
		l.report.Programs["source"] = version(ctx, "git", "describe", "--always", "--dirty")
	}
	l.report.Programs[datameshIt] = version(ctx, l.o.exe, "version")
	if l.report.Store, err = measureStore(l.dir); err != nil {
		return err
	}
	l.report.printHead(os.Stdout)
	for _, w := range chosen {
		if ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		err = errors.Join(err, l.one(ctx, w))
	}
	return err
}

// one does one work.
func (l *lab) one(ctx context.Context, w work) error {
	fmt.Fprintf(os.Stderr, "%s …\n", w.name)
	began := time.Now()
	before, err := workNow()
	if err != nil {
		return err
	}
	err = errors.Join(w.do(ctx, l), l.healthy())
	after, err2 := workNow()
	done := Done{Work: w.name, Seconds: time.Since(began).Seconds()}
	done.Others, done.Steal = after.shares(before)
	if err = errors.Join(err, err2); err != nil {
		err = fmt.Errorf("%s: %w", w.name, err)
		done.Error = err.Error()
		fmt.Fprintln(os.Stderr, "bench:", err)
		l.close() // so that the next begins with six nodes; its error is in err
	}
	l.report.Works = append(l.report.Works, done)
	return err
}

const tempPattern = "bench-" // of directories, which are removed in the end

// timed returns how long f takes.
func timed(f func() error) (time.Duration, error) {
	began := time.Now()
	err := f()
	return time.Since(began), err
}

// build makes the program from the source that this command stands in.
func build(ctx context.Context, dir string) (string, error) {
	exe := filepath.Join(dir, "datamesh")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", exe, "datamesh/cmd/datamesh")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the program: %w: %s", err, out)
	}
	return exe, nil
}

func writeReport(file string, r *Report) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o666)
}

// decode reads the one document that a command has printed.
func decode(out io.Reader, doc any) error {
	if err := json.NewDecoder(out).Decode(doc); err != nil {
		return fmt.Errorf("read what a command has printed: %w", err)
	}
	return nil
}
