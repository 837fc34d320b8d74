package main

import (
	"context"
	"testing"
	"time"

	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// A completion that hangs is given up, with what it has found until then.
func TestCompletionIsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		hang := make(chan struct{})
		got, directive := inTime(t.Context(), func(_ context.Context, offer func(value, about string) bool) error {
			offer("one", "\x1b[2J first")
			offer("not\nthis", "")
			offer("two", "")
			<-hang
			offer("three", "")
			return nil
		})
		if diff := cmp.Diff([]cobra.Completion{"one\t\uFFFD[2J first", "two"}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if took := time.Since(began); took != completionTime {
			t.Errorf("it took %v of the test's own time", took)
		}
		if directive&cobra.ShellCompDirectiveNoFileComp == 0 {
			t.Error("files are offered")
		}
		close(hang) // the goroutine ends, as nobody takes what it offers
	})
}

func TestCompletionIsBounded(t *testing.T) {
	got, _ := inTime(t.Context(), func(_ context.Context, offer func(value, about string) bool) error {
		for offer("x", "") {
		}
		return nil
	})
	if len(got) != maxCandidates {
		t.Errorf("%d candidates, want %d", len(got), maxCandidates)
	}
}
