package config

import (
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"datamesh"
	"datamesh/internal/errs"
)

// A Size is a number of bytes.
type Size int64

// units are those of [ParseSize]: as in dd, K and KiB are 1024 and kB is 1000.
var units = map[string]int64{
	"": 1, "B": 1,
	"K": 1 << 10, "KI": 1 << 10, "KIB": 1 << 10, "KB": 1e3,
	"M": 1 << 20, "MI": 1 << 20, "MIB": 1 << 20, "MB": 1e6,
	"G": 1 << 30, "GI": 1 << 30, "GIB": 1 << 30, "GB": 1e9,
	"T": 1 << 40, "TI": 1 << 40, "TIB": 1 << 40, "TB": 1e12,
	"P": 1 << 50, "PI": 1 << 50, "PIB": 1 << 50, "PB": 1e15,
}

// ParseSize reads a size such as 500G, 1.5 TiB or 65536. The case of the unit
// does not matter; G and GiB are 2^30 bytes, GB is 10^9. Kind: Invalid.
func ParseSize(s string) (Size, error) {
	i := 0
	for i < len(s) && (s[i] >= '0' && s[i] <= '9' || s[i] == '.') {
		i++
	}
	unit, ok := units[strings.ToUpper(strings.TrimSpace(s[i:]))]
	if n, err := strconv.ParseInt(s[:i], 10, 64); ok && err == nil && n <= math.MaxInt64/unit {
		return Size(n * unit), nil
	}
	f, err := strconv.ParseFloat(s[:i], 64)
	if !ok || err != nil || f*float64(unit) >= math.MaxInt64 {
		return 0, errs.New(errs.Invalid, "%q is not a size such as 500G or 64MiB", s)
	}
	return Size(f * float64(unit)), nil
}

// String returns the size for people, in powers of 1024: 1.5 GiB.
func (n Size) String() string {
	if n < 1<<10 && n > -1<<10 {
		return fmt.Sprintf("%d B", int64(n))
	}
	f, unit := float64(n), 0
	for math.Abs(f) >= 1023.95 && unit < 6 { // which would be printed as 1024.0
		f, unit = f/1024, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", f, " KMGTPE"[unit])
}

// formatSize returns a size as [ParseSize] reads it, exactly and shortly.
func formatSize(n Size) string {
	short := strconv.FormatInt(int64(n), 10)
	for _, unit := range []string{"kB", "K", "MB", "M", "GB", "G", "TB", "T", "PB", "P"} {
		if size := units[strings.ToUpper(unit)]; int64(n)%size == 0 {
			if s := strconv.FormatInt(int64(n)/size, 10) + unit; len(s) < len(short) {
				short = s
			}
		}
	}
	return short
}

// ParseDuration reads a duration such as 500ms, 3s or 2h30m that is not
// negative. Kind: Invalid.
func ParseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, errs.New(errs.Invalid, "%q is not a duration such as 500ms, 3s or 2h30m", s)
	}
	return d, nil
}

// ParseDays is as [ParseDuration], and reads days, such as 30d, too. Kind: Invalid.
func ParseDays(s string) (time.Duration, error) {
	const day = 24 * time.Hour
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, errs.New(errs.Invalid, "%q is no number of days", s)
		}
		return time.Duration(n) * day, nil
	}
	return ParseDuration(s)
}

// formatDuration is [time.Duration.String] without its zeros at the end.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func parsePositive(s string) (time.Duration, error) {
	d, err := ParseDuration(s)
	if err == nil && d == 0 {
		return 0, errs.New(errs.Invalid, "it must be above 0")
	}
	return d, err
}

// A Code is an erasure code: any K of its K+M shards suffice.
type Code struct{ K, M int }

func (c Code) String() string { return fmt.Sprintf("%d+%d", c.K, c.M) }

// ParseCode reads a code such as 4+2. K is at least 1, M at least 0, and
// together they are at most [datamesh.MaxShards]. Kind: Invalid.
func ParseCode(s string) (Code, error) {
	ks, ms, ok := strings.Cut(s, "+")
	k, errK := strconv.ParseUint(ks, 10, 16)
	m, errM := strconv.ParseUint(ms, 10, 16)
	switch {
	case !ok || errK != nil || errM != nil:
		return Code{}, errs.New(errs.Invalid, "%q is not a code such as 4+2", s)
	case k < 1:
		return Code{}, errs.New(errs.Invalid, "the code %s has no data shard; its first number is at least 1", s)
	case k+m > datamesh.MaxShards:
		return Code{}, errs.New(errs.Invalid, "the code %s has %d shards; at most %d are possible", s, k+m, datamesh.MaxShards)
	}
	return Code{K: int(k), M: int(m)}, nil
}

func parsePort(s string) (int, error) {
	port, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, errs.New(errs.Invalid, "it is not a port")
	}
	return int(port), nil
}

func parseBool(s string) (bool, error) {
	if s != "true" && s != "false" {
		return false, errs.New(errs.Invalid, "it is neither true nor false")
	}
	return s == "true", nil
}

// splitList returns the elements of a list that are separated by commas.
func splitList(s string) []string {
	if strings.TrimSpace(s) == "" {
		return nil
	}
	parts := strings.Split(s, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

func parseAddrs(s string) ([]netip.Addr, error) {
	var addrs []netip.Addr
	for part := range strings.SplitSeq(s, ",") {
		addr, err := netip.ParseAddr(strings.TrimSpace(part))
		if err != nil {
			return nil, errs.New(errs.Invalid, "%q is not an IP address", part)
		}
		addrs = append(addrs, addr)
	}
	return addrs, nil
}

// Labels travel in every member's record, so they are short.
const (
	maxLabel    = 64
	acceptLabel = "at most 64 bytes of printable text"
)

func parseLabel(s string) (string, error) {
	if len(s) > maxLabel {
		return "", errs.New(errs.Invalid, "it has %d bytes", len(s))
	}
	return s, plainText(s)
}

func parsePath(s string) (string, error) {
	if s != "" && !filepath.IsAbs(s) {
		return "", errs.New(errs.Invalid, "it is no absolute path")
	}
	return s, plainText(s)
}

func plainText(s string) error {
	odd := func(r rune) bool { return !unicode.IsPrint(r) }
	if !utf8.ValidString(s) || strings.ContainsFunc(s, odd) {
		return errs.New(errs.Invalid, "it is not printable text")
	}
	return nil
}

func parseLevel(s string) (slog.Level, error) {
	switch strings.ToLower(s) {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, errs.New(errs.Invalid, "there is no such level")
}

func formatLevel(l slog.Level) string { return strings.ToLower(l.String()) }

func formatAddrs(addrs []netip.Addr) string {
	all := make([]string, len(addrs))
	for i, a := range addrs {
		all[i] = a.String()
	}
	return strings.Join(all, ",")
}

func parseFormat(s string) (string, error) {
	if s != "text" && s != "json" {
		return "", errs.New(errs.Invalid, "there is no such format")
	}
	return s, nil
}

func parseCompress(s string) (string, error) {
	if s != "auto" && s != "off" && s != "max" {
		return "", errs.New(errs.Invalid, "there is no such way to compress")
	}
	return s, nil
}
