//go:build unix

package main

import (
	"os"
	"syscall"
)

// stateSignals ask a transfer how far it is.
var stateSignals = []os.Signal{syscall.SIGUSR1}
