package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"datamesh/internal/errs"
)

func TestErrorsAreToldWithoutGosTails(t *testing.T) {
	late := errs.New(errs.Unavailable, "peer x: no answer: %w", context.DeadlineExceeded)
	err := errors.Join(fmt.Errorf("get a: %w", late), fmt.Errorf("close: %w: %w", context.Canceled, context.DeadlineExceeded))
	for _, tt := range []struct {
		verbose bool
		want    string
		lines   int
	}{
		{false, "get a: peer x: no answer; close", 2},
		{true, "get a: peer x: no answer: context deadline exceeded; close: context canceled: context deadline exceeded", 11},
	} {
		var out bytes.Buffer
		c := &cli{err: &out, verbose: tt.verbose}
		c.printError(err)
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if lines[0] != "datamesh: "+tt.want || len(lines) != tt.lines {
			t.Errorf("verbose %t: got %d lines\n%s\nwant %d that begin with %q", tt.verbose, len(lines), out.String(), tt.lines, tt.want)
		}
	}
	if got := cutTails("context canceled"); got != "context canceled" {
		t.Errorf("nothing is left: %q", got)
	}
}
