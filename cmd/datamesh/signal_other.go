//go:build !unix

package main

import "os"

// stateSignals ask a transfer how far it is: there are none here.
var stateSignals []os.Signal
