//go:build linux

package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// peakMemory returns the most memory in bytes that a process has ever used, as
// long as it runs.
func peakMemory(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(status), "VmHWM:")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 2 || fields[1] != "kB" {
		return 0, fmt.Errorf("process %d has ended", pid)
	}
	kib, err := strconv.ParseInt(fields[0], 10, 64)
	return kib << 10, err
}

// watchMemory looks at a process until it ends, and sends the most memory that
// it has used.
func watchMemory(k *task) <-chan int64 {
	peak := make(chan int64, 1)
	go func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		var most int64
		for k.running() {
			if n, err := peakMemory(k.cmd.Process.Pid); err == nil {
				most = max(most, n)
			}
			<-tick.C
		}
		peak <- most
	}()
	return peak
}

// cpuTime returns the processor time that a running process has used.
func cpuTime(t testing.TB, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // the name may have spaces
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		t.Fatalf("process %d: %q", pid, stat)
	}
	var ticks int64
	for _, field := range fields[11:13] { // of the user and of the system
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / 100 // which Linux fixes for these files
}
