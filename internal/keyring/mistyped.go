package keyring

import (
	"fmt"
	"strconv"
	"strings"

	"datamesh/internal/errs"
)

// wrongCount is the error of a phrase of another number of words, of which
// those at some positions are not in the list.
func wrongCount(n int, unknown []int) error {
	text := fmt.Sprintf("a phrase has %d words, and these are %d", PhraseWords, n)
	if n == 1 {
		text = fmt.Sprintf("a phrase has %d words, and this is one", PhraseWords)
	}
	if len(unknown) > 0 {
		text += ": " + notInList(unknown)
	}
	return errs.WithHint(errs.New(errs.KeyManagement, "%s", text), "give all %d, in their order; lines that begin with # do not count", PhraseWords)
}

// mostNamed is how many positions an error names.
const mostNamed = 5

// notInList says which words, by position, are not in the list.
func notInList(positions []int) string {
	if len(positions) == 1 {
		return fmt.Sprintf("word %d is not in the list of words", positions[0])
	}
	var named []string
	for _, n := range positions {
		named = append(named, strconv.Itoa(n))
	}
	if len(named) > mostNamed {
		named = append(named[:mostNamed], "…")
	}
	return fmt.Sprintf("words %s are not in the list of words", strings.Join(named, ", "))
}

// wrongSum is the error of words that are all in the list, but not those of a
// root. A replacement makes the checksum right by chance once in 256 times, and
// all 24 words together have some 20 that differ from one by a letter: so a
// position that is alone is likely, and more than one tell nothing.
func wrongSum(places [PhraseWords]int) error {
	var suspects []int // positions
	for i, place := range places {
		for n, word := range wordList() {
			if edits(word, wordList()[place]) != 1 {
				continue
			}
			mended := places
			mended[i] = n
			if _, ok := rootOf(mended); ok {
				suspects = append(suspects, i+1)
				break
			}
		}
	}
	const text = "all %d words are in the list, but they do not belong together: "
	if len(suspects) == 1 {
		return errs.WithHint(errs.New(errs.KeyManagement, text+"if one letter is wrong it is most likely in word %d", PhraseWords, suspects[0]),
			"compare word %d with what was written down, and then the others, and their order", suspects[0])
	}
	return errs.WithHint(errs.New(errs.KeyManagement, text+"it cannot be told which is wrong", PhraseWords),
		"compare each with what was written down, and their order")
}

// nearHint says which words a mistyped one may be.
func nearHint(typed string) string {
	const most = 3
	var near []string
	for distance := 1; distance <= 2; distance++ {
		for _, word := range wordList() {
			// Of words of three or four letters half may be another, which is not near.
			if edits(typed, word) == distance && (distance == 1 || len(word) > wordPrefix) && len(near) < most {
				near = append(near, word)
			}
		}
	}
	if near == nil {
		return "no word is near it: compare it with what was written down"
	}
	return "near it: " + strings.Join(near, ", ")
}

const longest = 8 // letters of a word of the list

// edits counts the letters to insert, delete or replace, and the neighbours to
// swap, to make one word of another (optimal string alignment). What is much
// too long for a word is as far as it is long.
func edits(a, b string) int {
	if len(a) > 2*longest || len(b) > 2*longest {
		return max(len(a), len(b))
	}
	var d [2*longest + 1][2*longest + 1]uint8
	for i := range len(a) + 1 {
		for j := range len(b) + 1 {
			switch {
			case i == 0 || j == 0:
				d[i][j] = uint8(i + j)
			case a[i-1] == b[j-1]:
				d[i][j] = d[i-1][j-1]
			default:
				d[i][j] = 1 + min(d[i-1][j], d[i][j-1], d[i-1][j-1])
			}
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return int(d[len(a)][len(b)])
}
