//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: it reads what processes use from Linux's /proc: run it on Linux")
	os.Exit(1)
}
