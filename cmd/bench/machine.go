//go:build linux

package main

import (
	"crypto/rand"
	"fmt"
	"io"
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
	if kib, err := parseNumber(after("/proc/meminfo", "MemTotal:")); err == nil {
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

// A Store is where all nodes and files are. Of each latency there is the median,
// and what 1 % take longer than.
type Store struct {
	Filesystem string  `json:"filesystem"`
	SyncMS     float64 `json:"sync_ms"`         // to append 4 KiB and fsync
	SyncP99MS  float64 `json:"sync_p99_ms"`     //
	DataMS     float64 `json:"datasync_ms"`     // to write 4 KiB over others and fdatasync
	DataP99MS  float64 `json:"datasync_p99_ms"` //
	WriteMBps  float64 `json:"write_mbps"`      // one after the other, synced each 4 MiB
}

func (s Store) String() string {
	return fmt.Sprintf("%s: 4 KiB are synced in %.2f ms (p99 %.2f), over others in %.2f ms (p99 %.2f), 4 MiB one after the other at %.0f MB/s",
		s.Filesystem, s.SyncMS, s.SyncP99MS, s.DataMS, s.DataP99MS, s.WriteMBps)
}

// inMemory reports whether there is no disk behind the file system.
func (s Store) inMemory() bool { return s.Filesystem == "tmpfs" }

const syncs = 256 // whose latency is measured

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
	f, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		return s, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	small, err := writeSynced(f, 4<<10, syncs, f.Sync)
	if err != nil {
		return s, err
	}
	s.SyncMS, s.SyncP99MS = median(small)*1000, percentile(small, 99)*1000
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return s, err
	}
	over, err := writeSynced(f, 4<<10, syncs, func() error { return unix.Fdatasync(int(f.Fd())) })
	if err != nil {
		return s, err
	}
	s.DataMS, s.DataP99MS = median(over)*1000, percentile(over, 99)*1000
	large, err := writeSynced(f, 4<<20, 64, f.Sync)
	if err != nil {
		return s, err
	}
	s.WriteMBps = 4 << 20 * 64 / sum(large) / 1e6
	return s, nil
}

// writeSynced writes n pieces of size bytes, and returns how many seconds each
// took until it was synced.
func writeSynced(f *os.File, size, n int, sync func() error) (seconds []float64, err error) {
	b := make([]byte, size)
	rand.Read(b)
	for range n {
		began := time.Now()
		if _, err := f.Write(b); err != nil {
			return nil, err
		}
		if err := sync(); err != nil {
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

// used is what a process has used since it began.
type used struct {
	cpu           time.Duration
	read, written int64 // bytes from and to disks, as far as the kernel tells: none of a file system in memory
	out           int64 // bytes that it wrote to anything, connections too
}

func usedBy(pid int) (u used, err error) {
	if u.cpu, err = cpuTime(pid); err != nil {
		return u, err
	}
	file := fmt.Sprintf("/proc/%d/io", pid)
	for _, field := range []struct {
		name string
		to   *int64
	}{{"wchar", &u.out}, {"read_bytes", &u.read}, {"write_bytes", &u.written}} {
		if *field.to, err = parseNumber(after(file, "\n"+field.name+": ")); err != nil {
			return u, err
		}
	}
	return u, nil
}

// memoryNow and memoryPeak are how many bytes of memory a running process has,
// and had at most.
func memoryNow(pid int) (int64, error)  { return memoryLine(pid, "VmRSS:") }
func memoryPeak(pid int) (int64, error) { return memoryLine(pid, "VmHWM:") }

func memoryLine(pid int, begin string) (int64, error) {
	kib, err := parseNumber(after(fmt.Sprintf("/proc/%d/status", pid), begin))
	if err != nil {
		return 0, fmt.Errorf("process %d has ended", pid)
	}
	return kib << 10, nil
}

// parseNumber reads a number as files of /proc have it, which may say "kB".
func parseNumber(s string) (int64, error) {
	return strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(s, "kB")), 10, 64)
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

// percentile is the nearest rank of values, of which there is at least one.
func percentile(values []float64, percent int) float64 {
	return slices.Sorted(slices.Values(values))[(percent*len(values)+99)/100-1]
}
