package placement

import (
	"errors"
	"testing"

	"datamesh/internal/errs"
)

func TestQuorum(t *testing.T) {
	for _, tt := range []struct{ connected, available, want int }{
		{1, 1, 1}, {2, 2, 1}, {5, 5, 1}, {5, 100, 1},
		{6, 6, 2}, {7, 7, 2}, {8, 8, 2}, {9, 9, 3}, {20, 20, 5}, {21, 21, 6}, {100, 100, 25}, {101, 101, 26},
		{100, 20, 20}, {100, 8, 8}, {100, 1, 1}, {20, 4, 4}, {6, 1, 1}, {100, 1000, 25},
	} {
		if got, err := Quorum(tt.connected, tt.available); got != tt.want || err != nil {
			t.Errorf("%d connected, %d to ask: got %d, %v, want %d", tt.connected, tt.available, got, err, tt.want)
		}
	}
	for _, tt := range [][2]int{{0, 0}, {0, 5}, {5, 0}, {100, 0}, {-1, -1}} {
		if _, err := Quorum(tt[0], tt[1]); !errors.Is(err, errs.Unavailable) {
			t.Errorf("%d connected, %d to ask: got %v, want Unavailable", tt[0], tt[1], err)
		}
	}
}
