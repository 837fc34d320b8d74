package tree

import "os"

// WriteAt writes to the file from an offset on. Kinds: IO, Full.
func (f *File) WriteAt(p []byte, offset int64) (int, error) {
	if err := f.wake(); err != nil {
		return 0, err
	}
	n, err := f.temp.WriteAt(p, offset)
	if err != nil {
		return n, problem(f.entry.Path, err)
	}
	return n, nil
}

// Rest closes the file until more is written to it, so that many can be on their
// way at once. What it has need not be on the disk yet. Kinds: IO, Full.
func (f *File) Rest() error {
	if f.temp == nil || f.rests {
		return nil
	}
	f.rests = true
	if err := f.temp.Close(); err != nil {
		return problem(f.entry.Path, err)
	}
	return nil
}

// wake opens a file that rests.
func (f *File) wake() error {
	if f.temp == nil || !f.rests {
		return nil
	}
	temp, err := f.w.root.OpenFile(f.name, os.O_WRONLY, 0)
	if err != nil {
		return problem(f.entry.Path, err)
	}
	f.temp, f.rests = temp, false
	return nil
}
