//go:build unix

package config

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Root may edit the configuration of another user, who must be able to go on.
func TestWhatRootWritesIsTheOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: that root leaves a configuration to its owner needs root")
	}
	const user, group = 65534, 65533
	for name, made := range map[string]bool{"a file that is there": true, "a new one": false} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "home")
			path := filepath.Join(dir, "config.toml")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			owned := dir
			if made {
				if err := os.WriteFile(path, nil, 0o640); err != nil {
					t.Fatal(err)
				}
				owned = path
			}
			if err := os.Chown(owned, user, group); err != nil {
				t.Fatal(err)
			}
			for _, edit := range []func(*File) error{
				func(f *File) error { return f.Set("log.level", "debug") },
				func(f *File) error {
					return f.AddNetwork("n", []string{"12D3KooWFA12p4eY7kF3VLeKJwwaRFFTDKNrvR9zyvNMyoYBbbYv@/ip4/192.0.2.7/tcp/1"})
				},
				func(f *File) error { return f.RemoveNetwork("n") },
				func(f *File) error { return f.Unset("log.level") },
			} {
				f, err := ReadFile(path)
				if err == nil {
					err = edit(f)
				}
				if err == nil {
					err = f.Save()
				}
				if err != nil {
					t.Fatal(err)
				}
				fi, err := os.Stat(path)
				if err != nil {
					t.Fatal(err)
				}
				if of := fi.Sys().(*syscall.Stat_t); of.Uid != user || of.Gid != group {
					t.Errorf("the file is %d:%d, want %d:%d", of.Uid, of.Gid, user, group)
				}
				if made && fi.Mode().Perm() != 0o640 {
					t.Errorf("mode %v, want 0640", fi.Mode().Perm())
				}
			}
		})
	}
}
