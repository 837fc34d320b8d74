package placement

import "datamesh/internal/errs"

// Quorum returns how many peers must acknowledge a record before it counts as
// written: one while there are at most five connected peers, a quarter of
// them, rounded up, above that, and never more than there are to ask. Without
// any peer there is no quorum: kind Unavailable.
func Quorum(connected, available int) (int, error) {
	available = min(available, connected)
	if available < 1 {
		return 0, errs.New(errs.Unavailable, "no peer to ask")
	}
	if connected <= 5 {
		return 1, nil
	}
	return min((connected+3)/4, available), nil
}
