package main

import (
	"bytes"
	"context"
	"testing"
)

// A simulation that is interrupted prints no result.
func TestSimulationIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stdout, stderr bytes.Buffer
	c := &cli{in: new(bytes.Buffer), out: &stdout, err: &stderr}
	if got := c.execute(ctx, c.root(), []string{"simulate", "--years", "1000000"}); got != 130 || stdout.Len() > 0 {
		t.Errorf("it ends with %d, after %q", got, &stdout)
	}
	if got := stderr.String(); got != "datamesh: interrupted\n" {
		t.Errorf("it says %q", got)
	}
}

// How far it is goes to a line each, or to a bar.
func TestSimulationTellsHowFarItIs(t *testing.T) {
	var out bytes.Buffer
	p := &player{years: 200, out: &out}
	p.line(t.Context())
	p.played(50)
	p.line(t.Context())
	if got, want := out.String(), "simulate: 0 % of 200 object-years\nsimulate: 25 % of 200 object-years\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	p.draw(t.Context())
	p.line(t.Context())
	p.close()
	if !bytes.Contains(out.Bytes(), []byte("25 %")) {
		t.Errorf("got %q", &out)
	}
}
