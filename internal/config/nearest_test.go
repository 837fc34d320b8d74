package config

import "testing"

func TestDistanceCountsEdits(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"kitten", "sitting", 3}, {"abc", "abc", 0}, {"ab", "ba", 2}} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestOnlyKeysThatAreNearAreAlike(t *testing.T) {
	for key, want := range map[string]bool{
		"put.cod": true, "putcode": true, "code": true, "ring.prob": true, "store.capcity": true,
		"": false, "x": false, "x.y": false, "nokey": false, "no.such.setting": false,
	} {
		if got := Like(key); got != want {
			t.Errorf("%q: got %v, want %v", key, got, want)
		}
	}
}
