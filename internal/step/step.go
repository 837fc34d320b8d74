// Package step names the steps at which what is written becomes durable, so
// that a test can end the process at each of them.
//
// In the program nobody listens, and a step costs a comparison with nil. The
// tests of cmd/datamesh find all steps in the source; one that they do not
// reach fails them.
package step

// Reached is told of each step, by whichever goroutine comes to it. Only the
// main function of a test sets it, before anything else runs.
var Reached func(name string)

// At is called where a step has been made. Its name is a constant, is used
// once, and says what the step was: the package, the work, what is done.
func At(name string) {
	if Reached != nil {
		Reached(name)
	}
}
