package config

import (
	"errors"
	"math"
	"testing"
	"time"

	"datamesh/internal/errs"
)

func TestParseSize(t *testing.T) {
	for s, want := range map[string]Size{
		"0": 0, "65536": 65536, "1B": 1, "1k": 1024, "1KiB": 1024, "1kB": 1000,
		"500G": 500 << 30, "1.5 TiB": 3 << 39, "2 PB": 2e15, "0.5": 0,
		"9223372036854775807": math.MaxInt64,
	} {
		if got, err := ParseSize(s); got != want || err != nil {
			t.Errorf("ParseSize(%q) = %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "G", "-1", "1X", "1e3", "1..5", ".", "9223372036854775808", "8192P", "NaN", "inf", "1 G G"} {
		if got, err := ParseSize(s); !errors.Is(err, errs.Invalid) {
			t.Errorf("ParseSize(%q) = %d, %v, want Invalid", s, got, err)
		}
	}
}

func TestSizesReadWell(t *testing.T) {
	for n, want := range map[Size]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", -2048: "-2.0 KiB",
		1<<20 - 1: "1.0 MiB", 64 << 20: "64.0 MiB", math.MaxInt64: "8.0 EiB",
	} {
		if got := n.String(); got != want {
			t.Errorf("Size(%d) = %q, want %q", int64(n), got, want)
		}
	}
}

func TestSizesAndDurationsAreWrittenAsTheyAreRead(t *testing.T) {
	for n, want := range map[Size]string{
		0: "0", 1: "1", 999: "999", 1000: "1kB", 1024: "1K", 1 << 20: "1M", 64 << 20: "64M", 500e9: "500GB", 500 << 30: "500G",
		3 << 39: "1536G", 2e15: "2PB", 1<<30 + 1: "1073741825", math.MaxInt64: "9223372036854775807",
	} {
		got := formatSize(n)
		if back, err := ParseSize(got); got != want || back != n || err != nil {
			t.Errorf("formatSize(%d) = %q, want %q; it is read as %d, %v", int64(n), got, want, int64(back), err)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0s", 250 * time.Millisecond: "250ms", 10 * time.Second: "10s", time.Minute: "1m", 20 * time.Minute: "20m",
		24 * time.Hour: "24h", 90 * time.Minute: "1h30m", time.Hour + time.Second: "1h0m1s",
	} {
		got := formatDuration(d)
		if back, err := ParseDuration(got); got != want || back != d || err != nil {
			t.Errorf("formatDuration(%v) = %q, want %q; it is read as %v, %v", d, got, want, back, err)
		}
	}
}

func TestParseCode(t *testing.T) {
	for s, want := range map[string]Code{"4+2": {4, 2}, "1+0": {1, 0}, "1+255": {1, 255}, "256+0": {256, 0}} {
		got, err := ParseCode(s)
		if got != want || err != nil {
			t.Errorf("ParseCode(%q) = %v, %v, want %v", s, got, err, want)
		}
		if got.String() != s {
			t.Errorf("%v prints as %q, want %q", want, got, s)
		}
	}
	for _, s := range []string{"", "4", "4+", "+2", "0+2", "-1+2", "4+-2", "4 + 2", "200+57", "65536+65536", "4+2+1"} {
		if got, err := ParseCode(s); !errors.Is(err, errs.Invalid) {
			t.Errorf("ParseCode(%q) = %v, %v, want Invalid", s, got, err)
		}
	}
}
