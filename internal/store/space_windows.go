package store

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// freeSpace returns how many bytes of the file system at dir this process may
// still fill.
func freeSpace(dir string) (int64, error) {
	path, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, err
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(path, &free, nil, nil); err != nil {
		return 0, os.NewSyscallError("GetDiskFreeSpaceEx", err)
	}
	return int64(free), nil
}

// noSpace reports whether err means that the disk, or the user's part of it,
// is full.
func noSpace(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}

// syncDir does nothing: NTFS journals names on its own, and Windows does not
// sync folders.
func syncDir(string) error { return nil }
