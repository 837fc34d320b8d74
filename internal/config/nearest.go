package config

import (
	"cmp"
	"slices"
)

// nearest returns the name that a mistyped one was most likely meant as. There
// is at least one.
func nearest(name string, names []string) string {
	return slices.MinFunc(names, func(a, b string) int {
		return cmp.Compare(distance(name, a), distance(name, b))
	})
}

// Like reports whether a key that no setting has is so near to that of one
// that this was most likely meant: at least half of it is the same.
func Like(key string) bool {
	near := nearest(key, keys(new(Config).settings()))
	return 2*distance(key, near) <= max(len(key), len(near))
}

// distance is Levenshtein's: the fewest bytes to insert, delete or replace.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
