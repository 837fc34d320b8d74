package object

import (
	"fmt"
	"slices"
	"strings"

	"datamesh"
)

// reasons lists who failed and why, in a stable order and not too long.
func reasons(failed map[datamesh.PeerID]error) string {
	var lines []string
	for peer, err := range failed {
		lines = append(lines, fmt.Sprintf("%s: %v", peer, err))
	}
	slices.Sort(lines)
	return join(lines)
}

// join makes one line of reasons, the first few of many.
func join(lines []string) string {
	const most = 6
	if len(lines) == 0 {
		return "nobody refused"
	}
	more := ""
	if len(lines) > most {
		more = fmt.Sprintf("; and %d more", len(lines)-most)
		lines = slices.Clone(lines[:most])
	}
	return strings.Join(lines, "; ") + more
}

// count returns "1 peer" or "6 peers".
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
