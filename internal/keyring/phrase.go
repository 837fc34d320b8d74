package keyring

import (
	"crypto/sha256"
	_ "embed"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"

	"datamesh/internal/errs"
)

// english is the English word list of BIP 39, a word to a line.
//
//go:embed english.txt
var english string

// wordList returns the 2,048 words, sorted. No two begin with the same four
// letters, and those of three letters are whole.
var wordList = sync.OnceValue(func() []string { return strings.Fields(english) })

const (
	PhraseWords = 24       // words of a phrase
	MaxPhrase   = 64 << 10 // bytes of a text that is searched for words
	wordBits    = 11       // bits that a word stands for
	wordPrefix  = 4        // letters that no two words share
)

// A Phrase is a root in words that can be written down: its 256 bits and the
// first 8 of their SHA-256, 11 to a word (BIP 39). Whoever has them has the
// root.
type Phrase [PhraseWords]string

// Format prints no phrase, whatever the verb, so that none gets into a log.
func (Phrase) Format(f fmt.State, _ rune) { io.WriteString(f, "(phrase)") }

// Phrase returns the words of the root.
func (r Root) Phrase() (p Phrase) {
	sum := sha256.Sum256(r[:])
	bits := append(r[:], sum[0])
	for i := range p {
		n := 0
		for bit := i * wordBits; bit < (i+1)*wordBits; bit++ {
			n = n<<1 | int(bits[bit/8]>>(7-bit%8)&1)
		}
		p[i] = wordList()[n]
	}
	return p
}

// rootOf returns the root of words by their places in the list, and whether
// their checksum is right.
func rootOf(places [PhraseWords]int) (Root, bool) {
	var bits [sha256.Size + 1]byte
	for i, n := range places {
		for j := range wordBits {
			bit := i*wordBits + j
			bits[bit/8] |= byte(n>>(wordBits-1-j)&1) << (7 - bit%8)
		}
	}
	root := Root(bits[:sha256.Size])
	return root, sha256.Sum256(root[:])[0] == bits[sha256.Size]
}

// ParsePhrase reads the 24 words of a root as people write them down: in
// whatever case, on any number of lines, with or without their numbers,
// punctuation, and lines of comment that begin with #. Four letters stand for
// their word. Errors tell what is wrong by the position of a word, from 1, and
// never have more of the words than those near one that is mistyped. Kind:
// KeyManagement.
func ParsePhrase(text string) (root Root, err error) {
	typed, err := splitPhrase(text)
	if err != nil {
		return root, err
	}
	var places [PhraseWords]int
	var unknown []int // positions
	for i, word := range typed {
		n, ok := find(word)
		if !ok {
			unknown = append(unknown, i+1)
		} else if i < len(places) {
			places[i] = n
		}
	}
	if len(typed) != PhraseWords {
		return root, wrongCount(len(typed), unknown)
	}
	if len(unknown) > 0 {
		return root, errs.WithHint(errs.New(errs.KeyManagement, "%s", notInList(unknown)), "%s", nearHint(typed[unknown[0]-1]))
	}
	root, ok := rootOf(places)
	if !ok {
		return Root{}, wrongSum(places)
	}
	return root, nil
}

// ParseWord returns the word of the list that was typed, as [ParsePhrase]
// reads each. Kind: KeyManagement.
func ParseWord(text string) (string, error) {
	word := strings.ToLower(strings.TrimFunc(text, func(r rune) bool { return !unicode.IsLetter(r) }))
	n, ok := find(word)
	if !ok {
		return "", errs.WithHint(errs.New(errs.KeyManagement, "that is not in the list of words"), "%s", nearHint(word))
	}
	return wordList()[n], nil
}

// splitPhrase returns the words of a text, in lower case. A number that stands
// before a word must be its position.
func splitPhrase(text string) (words []string, err error) {
	if len(text) > MaxPhrase {
		return nil, errs.WithHint(errs.New(errs.KeyManagement, "this is too long for %d words", PhraseWords), "give nothing else but the words")
	}
	between := func(r rune) bool { return unicode.IsSpace(r) || r == ',' || r == ';' }
	ornament := func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		for field := range strings.FieldsFuncSeq(line, between) {
			field = strings.TrimFunc(field, ornament)
			word := strings.TrimLeft(field, "0123456789")
			if number := field[:len(field)-len(word)]; number != "" {
				if n, err := strconv.Atoi(number); err != nil || n != len(words)+1 {
					return nil, errs.WithHint(errs.New(errs.KeyManagement, "word %d has another number beside it", len(words)+1),
						"look whether one before it is missing; give all in the order of their numbers")
				}
			}
			if word = strings.TrimLeftFunc(word, ornament); word != "" {
				words = append(words, strings.ToLower(word))
			}
		}
	}
	return words, nil
}

// find returns the place in the list of a word, or of the one that begins with
// it if it is long enough.
func find(word string) (int, bool) {
	n, ok := slices.BinarySearch(wordList(), word)
	return n, ok || len(word) >= wordPrefix && n < len(wordList()) && strings.HasPrefix(wordList()[n], word)
}
