//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	tracing     = "strace"
	traceSuffix = ".trace"

	tracedPut  = smallPut + ", under strace"
	tracedDisk = smallPut + ", on a disk, under strace"

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
// at once: its own files and those of its databases. It does so in memory, if that is where
// all is, and on a disk.
func measureSyncs(ctx context.Context, l *lab) error {
	if _, err := exec.LookPath(tracing); err != nil {
		l.report.notMeasured(synced, "there is no %s on the PATH", tracing)
		return nil
	}
	if l.report.Store.inMemory() {
		if err := l.apart(l.dir, func(t *lab) error { return t.countSyncs(ctx, tracedPut) }); err != nil {
			return err
		}
	}
	parent, err := l.diskDir(tracedDisk)
	if parent == "" || err != nil {
		return err
	}
	return l.apart(parent, func(t *lab) error { return t.countSyncs(ctx, tracedDisk) })
}

func (l *lab) countSyncs(ctx context.Context, work string) error {
	l.traced = true
	b, err := l.benchmarkSmall(ctx)
	if err != nil {
		return err
	}
	put := b.Sizes[0].Put
	end := put.Began.Add(time.Duration(put.Seconds * float64(time.Second)))
	l.report.add(work, datameshIt, rate, put.Rate)
	sum := 0.0
	for _, home := range slices.Concat([]string{l.client}, homes(l.nodes)) {
		n, err := countTraced(home+traceSuffix, put.Began, end)
		if err != nil {
			return err
		}
		each := float64(n) / float64(put.Operations)
		sum += each
		by := aNode
		if home == l.client {
			by = theClient
		}
		l.report.add(work, by, synced, each)
	}
	l.report.add(work, allTogether, synced, sum)
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
