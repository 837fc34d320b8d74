package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSettingsAndNetworksAreCompleted(t *testing.T) {
	home := t.TempDir()
	t.Setenv("DATAMESH_HOME", home)
	const file = `[networks]
work = ["12D3KooWFA12p4eY7kF3VLeKJwwaRFFTDKNrvR9zyvNMyoYBbbYv@/ip4/127.0.0.1/tcp/1"]
`
	if err := os.WriteFile(filepath.Join(home, "config.toml"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	con := &console{cli: &cli{}}
	for _, tt := range []struct {
		line string
		list []string
	}{
		{"config get ring", []string{"ring.probe "}},
		{"config unset log.", []string{"log.level", "log.format"}},
		{"config set mesh.md", []string{"mesh.mdns "}},
		{"config set mesh.mdns ", []string{"true", "false"}},
		{"config set log.level w", []string{"warn "}},
		{"config set put.code 4+4", []string{"4+4 "}},
		{"config set mesh.bootstrap w", []string{"work "}},
		{"config set mesh.port ", nil},
		{"config set mesh.mdns true ", nil},
		{"networks use ", []string{"local", "work"}},
		{"networks test l", []string{"local "}},
		{"networks remove ", []string{"work "}},
		{"networks add ", nil},
		{"networks us", []string{"use "}},
		{"transfers ", []string{"cancel "}},
		{"transfers cancel ", nil},
		{"audit ", nil},
		{"audit --count ", nil},
		{"bandwidth ", nil},
		{"bandwidth --size ", nil},
		{"health ", nil},
	} {
		_, list, _ := con.complete(tt.line, len([]rune(tt.line)))
		if diff := cmp.Diff(tt.list, list); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.line, diff)
		}
	}
	if entries, err := os.ReadDir(home); err != nil || len(entries) != 1 {
		t.Errorf("the home has %v, %v, want the configuration alone", entries, err)
	}
}
