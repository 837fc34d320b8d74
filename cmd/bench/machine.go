//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
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

const inMemory = "tmpfs" // the file system that has no disk behind it

// inMemory reports whether there is no disk behind the file system.
func (s Store) inMemory() bool { return s.Filesystem == inMemory }

const syncs = 256 // whose latency is measured

// filesystem names that of a directory.
func filesystem(dir string) (string, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return "", fmt.Errorf("file system of %s: %w", dir, err)
	}
	switch fs.Type {
	case unix.TMPFS_MAGIC:
		return inMemory, nil
	case unix.EXT4_SUPER_MAGIC:
		return "ext4", nil
	case unix.XFS_SUPER_MAGIC:
		return "xfs", nil
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs", nil
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlayfs", nil
	}
	return fmt.Sprintf("%#x", fs.Type), nil
}

// measureStore finds out what a directory's file system does.
func measureStore(dir string) (s Store, err error) {
	if s.Filesystem, err = filesystem(dir); err != nil {
		return s, err
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

// versions finds out what programs of others there are.
func versions(ctx context.Context) map[string]string {
	found := map[string]string{}
	for _, line := range [][]string{{"minio", "--version"}, {"rclone", "version"}, {"ipfs", "--version"}, {restic, "version"}, {tracing, "--version"}} {
		if _, err := exec.LookPath(line[0]); err == nil {
			found[line[0]] = version(ctx, line...)
		}
	}
	return found
}

// version returns the first line that a command prints, or why there is none.
func version(ctx context.Context, line ...string) string {
	out, err := exec.CommandContext(ctx, line[0], line[1:]...).Output()
	if err != nil {
		return err.Error()
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return first
}

// A workload is processor time that was used since the system began.
type workload struct {
	all         time.Duration // that there was, of all processors
	busy, steal time.Duration // of it: by anybody here, and by the host
	ours        time.Duration // by this process and all that it has begun
}

// shares are those of the processors' time that others have used since before.
func (w workload) shares(before workload) (others, steal float64) {
	all := (w.all - before.all).Seconds()
	if all <= 0 {
		return 0, 0
	}
	others = (w.busy - before.busy - (w.ours - before.ours)).Seconds() / all
	return max(0, others), (w.steal - before.steal).Seconds() / all // ticks are coarse
}

func workNow() (w workload, err error) {
	fields := strings.Fields(after("/proc/stat", "cpu "))
	if len(fields) < 8 {
		return w, fmt.Errorf("/proc/stat: %q", fields)
	}
	for i, field := range fields[:8] { // user nice system idle iowait irq softirq steal
		n, err := ticks(field)
		if err != nil {
			return w, err
		}
		w.all += n
		switch i {
		case 3, 4:
		case 7:
			w.steal = n
		default:
			w.busy += n
		}
	}
	w.ours, err = oursUsed()
	return w, err
}

// oursUsed is the processor time that this process has used, and all that it has begun.
func oursUsed() (all time.Duration, err error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	parents, used := map[int]int{}, map[int]time.Duration{}
	for _, file := range files {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			return 0, err
		}
		fields, err := statFields(pid)
		if err != nil {
			continue // it has ended meanwhile
		}
		if parents[pid], err = strconv.Atoi(fields[1]); err != nil {
			return 0, err
		}
		for _, field := range fields[11:15] { // of the user and of the system, and of children that were waited for
			n, err := ticks(field)
			if err != nil {
				return 0, err
			}
			used[pid] += n
		}
	}
	for pid, n := range used {
		at := pid
		for at != os.Getpid() && parents[at] != 0 {
			at = parents[at]
		}
		if at == os.Getpid() {
			all += n
		}
	}
	return all, nil
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
func cpuTime(pid int) (all time.Duration, err error) {
	fields, err := statFields(pid)
	if err != nil {
		return 0, err
	}
	for _, field := range fields[11:13] { // of the user and of the system
		n, err := ticks(field)
		if err != nil {
			return 0, err
		}
		all += n
	}
	return all, nil
}

// statFields returns what the system tells of a process after its name: the third field
// of proc_pid_stat(5) and those after it, of which there are at least 15.
func statFields(pid int) ([]string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // the name may have anything
	if len(fields) < 15 {
		return nil, fmt.Errorf("process %d: %q", pid, stat)
	}
	return fields, nil
}

// ticks reads processor time as files of /proc have it.
func ticks(field string) (time.Duration, error) {
	n, err := strconv.ParseInt(field, 10, 64)
	return time.Duration(n) * time.Second / 100, err // which Linux fixes for these files
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
		return 0, fmt.Errorf("%s of process %d: %w", begin, pid, err)
	}
	return kib << 10, nil
}

// forgetPeak has the most memory that this process has had be what it has now, and
// returns that. Where the kernel cannot, it is what there was.
func forgetPeak() (int64, error) {
	debug.FreeOSMemory()
	os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // see proc_pid_clear_refs(5); its error is that it cannot
	return memoryPeak(os.Getpid())
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
