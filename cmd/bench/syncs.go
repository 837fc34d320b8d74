//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	tracing     = "strace"
	traceSuffix = ".trace"

	synced      = "syncs for each object"
	theClient   = "the client"
	aNode       = "a node"
	allTogether = "all processes together"
)

// tracer is the command that has a process write down each of its calls by which
// the system puts something on a disk, with the time. It is a child of the process,
// and stops it at no other call.
func tracer(file string) []string {
	return []string{tracing, "-D", "-f", "--seccomp-bpf", "-qq", "-ttt", "-e", "signal=none", "-e", "trace=fsync,fdatasync,sync_file_range,msync,syncfs,sync", "-o", file}
}

// measureSyncs counts how often each process syncs while many small objects are put
// at once: its own files and those of its databases.
func measureSyncs(ctx context.Context, l *lab) error {
	if _, err := exec.LookPath(tracing); err != nil {
		l.report.notMeasured(synced, "there is no %s on the PATH", tracing)
		return nil
	}
	dir := filepath.Join(l.dir, "traced")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	t := l.beside(dir)
	t.traced = true
	defer t.close()
	b, err := t.benchmarkSmall(ctx)
	if err != nil {
		return err
	}
	put := b.Sizes[0].Put
	end := put.Began.Add(time.Duration(put.Seconds * float64(time.Second)))
	sum := 0.0
	for _, home := range slices.Concat([]string{t.client}, homes(t.nodes)) {
		n, err := countTraced(home+traceSuffix, put.Began, end)
		if err != nil {
			return err
		}
		each := float64(n) / float64(put.Operations)
		sum += each
		by := aNode
		if home == t.client {
			by = theClient
		}
		l.report.add(smallPut, by, synced, each)
	}
	l.report.add(smallPut, allTogether, synced, sum)
	return nil
}

func homes(nodes []*process) (list []string) {
	for _, p := range nodes {
		list = append(list, p.home)
	}
	return list
}

// countTraced counts the calls that a tracer has seen begin between two times.
func countTraced(file string, from, to time.Time) (n int, err error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() { // "4711 1795731484.703553 fsync(1) = 0"
		fields := strings.Fields(lines.Text())
		if len(fields) < 3 || !strings.Contains(fields[2], "(") {
			continue // the end of a call, or of a thread
		}
		at, err := strconv.ParseFloat(fields[1], 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %q", file, lines.Text())
		}
		if t := time.UnixMicro(int64(at * 1e6)); t.After(from) && t.Before(to) {
			n++
		}
	}
	return n, lines.Err()
}
