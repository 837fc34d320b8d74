//go:build linux

package main

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Machine is what was measured on.
type Machine struct {
	CPU    string  `json:"cpu"`
	Cores  int     `json:"cores"`
	Memory int64   `json:"memory_bytes"`
	Kernel string  `json:"kernel"`
	Go     string  `json:"go"`
	Load   float64 `json:"load"` // of the minute before: others' work
}

func thisMachine() Machine {
	m := Machine{Cores: runtime.NumCPU(), Go: runtime.Version()}
	m.CPU = after("/proc/cpuinfo", "model name\t: ")
	if kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(after("/proc/meminfo", "MemTotal:")), " kB"), 10, 64); err == nil {
		m.Memory = kib << 10
	}
	b, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	m.Kernel = strings.TrimSpace(string(b))
	b, _ = os.ReadFile("/proc/loadavg")
	fmt.Sscan(string(b), &m.Load)
	return m
}

// after returns the rest of the first line of a file that begins so.
func after(file, begin string) string {
	b, _ := os.ReadFile(file)
	_, rest, _ := strings.Cut(string(b), begin)
	line, _, _ := strings.Cut(rest, "\n")
	return line
}

// A Store is where all nodes and files are.
type Store struct {
	Filesystem string  `json:"filesystem"`
	SyncMS     float64 `json:"sync_ms"`    // median to write and sync 4 KiB
	WriteMBps  float64 `json:"write_mbps"` // one after the other, synced each 4 MiB
}

// measureStore finds out what a directory's file system does.
func measureStore(dir string) (s Store, err error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return s, err
	}
	switch fs.Type {
	case unix.TMPFS_MAGIC:
		s.Filesystem = "tmpfs"
	case unix.EXT4_SUPER_MAGIC:
		s.Filesystem = "ext4"
	case unix.XFS_SUPER_MAGIC:
		s.Filesystem = "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		s.Filesystem = "btrfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		s.Filesystem = "overlayfs"
	default:
		s.Filesystem = fmt.Sprintf("%#x", fs.Type)
	}
	file := filepath.Join(dir, "sync")
	defer os.Remove(file)
	small, err := writeSynced(file, 4<<10, 32)
	if err != nil {
		return s, err
	}
	s.SyncMS = median(small) * 1000
	large, err := writeSynced(file, 4<<20, 64)
	if err != nil {
		return s, err
	}
	s.WriteMBps = 4 << 20 * 64 / sum(large) / 1e6
	return s, nil
}

// writeSynced writes n pieces of size bytes, and returns how many seconds each
// took until it was synced.
func writeSynced(file string, size, n int) (seconds []float64, err error) {
	b := make([]byte, size)
	rand.Read(b)
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for range n {
		began := time.Now()
		if _, err := f.Write(b); err != nil {
			return nil, err
		}
		if err := f.Sync(); err != nil {
			return nil, err
		}
		seconds = append(seconds, time.Since(began).Seconds())
	}
	return seconds, nil
}

// ownTime is the processor time that this process has used.
func ownTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // it has no other error than a bad argument
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// cpuTime is the processor time that a running process has used.
func cpuTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // the name may have spaces
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("process %d: %q", pid, stat)
	}
	var ticks int64
	for _, field := range fields[11:13] { // of the user and of the system
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / 100, nil // which Linux fixes for these files
}

// peakMemory is the most memory in bytes that a running process has used.
func peakMemory(pid int) (int64, error) {
	line := after(fmt.Sprintf("/proc/%d/status", pid), "VmHWM:")
	kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(line), " kB"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("process %d has ended", pid)
	}
	return kib << 10, nil
}

func sum(values []float64) (all float64) {
	for _, v := range values {
		all += v
	}
	return all
}

// median is the middle one of values, of which there is at least one.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[len(sorted)/2] + sorted[(len(sorted)-1)/2]) / 2
}
