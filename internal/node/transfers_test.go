package node

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"datamesh"
	"datamesh/internal/config"
	"datamesh/internal/partial"
)

func TestResumableTellsOfAGetAndMakesNoHome(t *testing.T) {
	home := config.Home(filepath.Join(t.TempDir(), "home"))
	if list, err := Resumable(t.Context(), home, home.Default(), time.Hour); err != nil || list.Transfers == nil || len(list.Transfers) != 0 {
		t.Errorf("no home: %+v, %v, want no transfers", list, err)
	}
	if _, err := os.Stat(string(home)); !os.IsNotExist(err) {
		t.Errorf("the home was made: %v", err)
	}
	out := filepath.Join(t.TempDir(), "out")
	get := partial.Begin(home.Gets(), "film", out)
	if err := get.Open(datamesh.ObjectID{1}, "film", partial.Worth, 0, out, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := get.Write([]byte("content")); err != nil {
		t.Fatal(err)
	}
	if list, err := Resumable(t.Context(), home, home.Default(), time.Hour); err != nil || len(list.Transfers) != 0 {
		t.Errorf("while it runs: %+v, %v", list, err)
	}
	if !get.Leave() {
		t.Fatal("it cannot be resumed")
	}
	list, err := Resumable(t.Context(), home, home.Default(), time.Hour)
	if err != nil || len(list.Transfers) != 1 {
		t.Fatalf("%+v, %v, want the get", list, err)
	}
	if x := list.Transfers[0]; x.Kind != GetTransfer || x.Name != "film" || x.Received != 7 || x.State != Interrupted {
		t.Errorf("%+v", x)
	}
}
