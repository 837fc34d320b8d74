package keyring

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"datamesh/internal/errs"
)

// goldenWords are those of the golden root.
const goldenWords = "abandon amount liar amount expire adjust cage candy arch gather drum bullet " +
	"absurd math era live bid rhythm alien crouch range attend journey unaware"

func TestTheWordListIsThatOfBIP39(t *testing.T) {
	const want = "2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda"
	if sum := sha256.Sum256([]byte(english)); hex.EncodeToString(sum[:]) != want {
		t.Errorf("its SHA-256 is %x, want %s", sum, want)
	}
	list := wordList()
	if len(list) != 1<<wordBits || !slices.IsSorted(list) {
		t.Errorf("%d words, sorted: %v", len(list), slices.IsSorted(list))
	}
	begins := map[string]string{}
	for _, word := range list {
		begin := word[:min(len(word), wordPrefix)]
		if other := begins[begin]; other != "" || len(word) < 3 || len(word) > longest || strings.Trim(word, "abcdefghijklmnopqrstuvwxyz") != "" {
			t.Errorf("%s begins as %s does, or has other letters", word, other)
		}
		begins[begin] = word
	}
}

// bip39 are the official vectors for 256 bits.
func bip39(t testing.TB) (vectors []struct{ Entropy, Words string }) {
	t.Helper()
	file := struct{ Vectors any }{&vectors}
	if err := json.Unmarshal(readFile(t, "testdata/bip39.json"), &file); err != nil {
		t.Fatal(err)
	}
	if len(vectors) != 8 {
		t.Fatalf("%d vectors, want 8", len(vectors))
	}
	return vectors
}

func TestOfficialVectorsBothWays(t *testing.T) {
	for _, v := range bip39(t) {
		entropy, err := hex.DecodeString(v.Entropy)
		if err != nil {
			t.Fatal(err)
		}
		root := Root(entropy)
		if got := spell(root); got != v.Words {
			t.Errorf("the words of %s are\n%s, want\n%s", v.Entropy, got, v.Words)
		}
		if got, err := ParsePhrase(v.Words); err != nil || got != root {
			t.Errorf("%s: another root, %v", v.Words, err)
		}
	}
	if got := spell(golden); got != goldenWords {
		t.Errorf("the golden root has %s", got)
	}
}

func spell(root Root) string {
	p := root.Phrase()
	return strings.Join(p[:], " ")
}

// random returns a source of the same roots each time.
func random() *rand.Rand { return rand.New(rand.NewPCG(39, 256)) }

func someRoot(r *rand.Rand) (root Root) {
	for i := range root {
		root[i] = byte(r.Uint32())
	}
	return root
}

func TestEveryRootComesBack(t *testing.T) {
	r := random()
	for range 2000 {
		root := someRoot(r)
		if got, err := ParsePhrase(spell(root)); err != nil || got != root {
			t.Fatalf("%s: another root, %v", spell(root), err)
		}
	}
}

func TestPhrasesAreReadAsPeopleWriteThem(t *testing.T) {
	words := strings.Fields(goldenWords)
	each := func(format func(i int, word string) string) string {
		var b strings.Builder
		for i, word := range words {
			b.WriteString(format(i+1, word))
		}
		return b.String()
	}
	for what, text := range map[string]string{
		"a line":           goldenWords,
		"capitals":         strings.ToUpper(goldenWords),
		"lines":            strings.Join(words, "\r\n"),
		"tabs and blanks":  "\t\n  " + strings.Join(words, "\t\u00a0 \n"),
		"a list":           strings.Join(words, ", ") + ".",
		"bullets":          "- " + strings.Join(words, "\n- "),
		"a byte order":     "\ufeff" + goldenWords,
		"1. ":              each(func(i int, w string) string { return fmt.Sprintf("%2d. %s\n", i, w) }),
		"1.":               each(func(i int, w string) string { return fmt.Sprintf("%d.%s ", i, w) }),
		"1) ":              each(func(i int, w string) string { return fmt.Sprintf("%d) %s   ", i, w) }),
		"(1)":              each(func(i int, w string) string { return fmt.Sprintf("(%d) %s\n", i, w) }),
		"1":                each(func(i int, w string) string { return fmt.Sprintf("%d %s\n", i, w) }),
		"some numbers":     each(func(i int, w string) string { return map[bool]string{true: fmt.Sprint(i, ": ")}[i%6 == 1] + w + "\n" }),
		"four letters":     each(func(_ int, w string) string { return w[:min(len(w), 4)] + " " }),
		"five letters":     each(func(_ int, w string) string { return w[:min(len(w), 5)] + " " }),
		"comments":         "# mine, of May 2026\n" + strings.Join(words, "\n  # next\n") + "\n#end",
		"JSON of a script": `["` + strings.Join(words, `","`) + `"]`,
	} {
		if root, err := ParsePhrase(text); err != nil || root != golden {
			t.Errorf("%s: %v in %q", what, err, text)
		}
	}
}

// with returns the golden words with some of them exchanged, by position.
func with(changes map[int]string) string {
	words := strings.Fields(goldenWords)
	for position, word := range changes {
		words[position-1] = word
	}
	return strings.Join(words, " ")
}

func TestMistakesAreNamedByPosition(t *testing.T) {
	words := strings.Fields(goldenWords)
	for _, tt := range []struct {
		what, text, want, hint string
	}{
		{"nothing", "", "a phrase has 24 words, and these are 0", "give all 24"},
		{"one", "abandon", "a phrase has 24 words, and this is one", "give all 24"},
		{"one too few", strings.Join(words[1:], " "), "a phrase has 24 words, and these are 23", "give all 24"},
		{"one too many", goldenWords + " zoo", "a phrase has 24 words, and these are 25", "give all 24"},
		{"a word in two", with(map[int]string{14: "ma th"}),
			"a phrase has 24 words, and these are 25: words 14, 15 are not in the list of words", "give all 24"},
		{"one mistyped", with(map[int]string{1: "abandom"}), "word 1 is not in the list of words", "near it: abandon"},
		{"swapped letters", with(map[int]string{23: "jounrey"}), "word 23 is not in the list of words", "near it: journey"},
		{"two letters", with(map[int]string{5: "expirrre"}), "word 5 is not in the list of words", "near it: expire"},
		{"a short one", with(map[int]string{17: "bod"}), "word 17 is not in the list of words", "near it: bid, body, box"},
		{"of many near the nearest", with(map[int]string{7: "caje"}), "word 7 is not in the list of words", "near it: cage, cake, case"},
		{"nothing like it", with(map[int]string{9: "xylophone"}), "word 9 is not in the list of words", "no word is near it"},
		{"too long for any", with(map[int]string{9: strings.Repeat("arch", 1000)}), "word 9 is not in the list of words", "no word is near it"},
		{"three letters of more", with(map[int]string{1: "aba"}), "word 1 is not in the list of words", "no word is near it"},
		{"another alphabet", with(map[int]string{1: "авandon"}), "word 1 is not in the list of words", "no word is near it"},
		{"a digit in it", with(map[int]string{1: "abando0n"}), "word 1 is not in the list of words", "near it: abandon"},
		{"two", with(map[int]string{2: "amonut", 4: "amont"}), "words 2, 4 are not in the list of words", "near it: amount"},
		{"all", strings.Repeat("nope ", 24), "words 1, 2, 3, 4, 5, … are not in the list of words", "near it: "},
		{"one is missing", "1 abandon 2 amount 4 amount", "word 3 has another number beside it", "one before it is missing"},
		{"by columns", "1. abandon 13. absurd", "word 2 has another number beside it", "in the order of their numbers"},
		{"a number beyond all", "99999999999999999999 abandon", "word 1 has another number beside it", "in the order"},
		{"a book", strings.Repeat("abandon\n", MaxPhrase/8) + "a", "this is too long for 24 words", "nothing else but the words"},
	} {
		root, err := ParsePhrase(tt.text)
		if errs.KindOf(err) != errs.KeyManagement || err.Error() != tt.want || !strings.Contains(errs.HintFor(err), tt.hint) || root != (Root{}) {
			t.Errorf("%s: got %v, hint %q, want %q, hint %q", tt.what, err, errs.HintFor(err), tt.want, tt.hint)
		}
		if errs.ExitCode(err) != 6 {
			t.Errorf("%s: exit status %d", tt.what, errs.ExitCode(err))
		}
	}
}

func TestOneWordIsReadAloneToo(t *testing.T) {
	for _, text := range []string{"journey", " JOURNEY\n", "23. journey", "jour", "(journey)"} {
		if word, err := ParseWord(text); err != nil || word != "journey" {
			t.Errorf("%q: got %q, %v", text, word, err)
		}
	}
	for _, text := range []string{"", "jou", "jounrey", "journey journey", "23."} {
		if word, err := ParseWord(text); errs.KindOf(err) != errs.KeyManagement || word != "" {
			t.Errorf("%q: got %q, %v", text, word, err)
		}
	}
}

// Of all ways to put one other word in the place of one, the checksum of 8
// bits lets 1 in 256 pass. Of the last word it has only 3 bits to compare with:
// those that keep them are all found, and of the other 1,792 of 2,047 again 1
// in 256 passes.
func TestTheChecksumFindsAllButOneIn256Substitutions(t *testing.T) {
	r := random()
	const phrases = 12
	tried, passed, triedLast, passedLast := 0, 0, 0, 0
	for range phrases {
		var places [PhraseWords]int
		for i, word := range someRoot(r).Phrase() {
			places[i], _ = find(word)
		}
		if _, ok := rootOf(places); !ok {
			t.Fatal("a phrase of a root is refused")
		}
		for i, place := range places {
			for n := range wordList() {
				if n == place {
					continue
				}
				other := places
				other[i] = n
				_, ok := rootOf(other)
				switch last := i == PhraseWords-1; {
				case last && n>>8 == place>>8 && ok:
					t.Errorf("another checksum of the same root passes: %d for %d", n, place)
				case last:
					triedLast++
				default:
					tried++
				}
				if ok && i == PhraseWords-1 {
					passedLast++
				} else if ok {
					passed++
				}
			}
		}
	}
	for what, c := range map[string]struct {
		tried, passed int
		rate          float64
	}{
		"of the first 23": {tried, passed, 1. / 256},
		"of the last":     {triedLast, passedLast, 1792. / 2047 / 256},
	} {
		want := float64(c.tried) * c.rate
		if off := math.Abs(float64(c.passed) - want); off > 4*math.Sqrt(want) {
			t.Errorf("%s %d of %d pass, want %.0f or so", what, c.passed, c.tried, want)
		}
		t.Logf("%s %d of %d pass: 1 in %.0f", what, c.passed, c.tried, float64(c.tried)/float64(c.passed))
	}
}

// A letter that makes another word of the list is named if it is the only one
// that explains it. It is not always so, and then nothing is claimed.
func TestALetterThatMakesAnotherWordIsFoundByTheChecksum(t *testing.T) {
	r := random()
	right, wrong, silent, passed := 0, 0, 0, 0
	for range 200 {
		phrase := someRoot(r).Phrase()
		i := r.IntN(PhraseWords)
		var near []string
		for _, word := range wordList() {
			if edits(word, phrase[i]) == 1 {
				near = append(near, word)
			}
		}
		if near == nil {
			continue
		}
		phrase[i] = near[r.IntN(len(near))]
		_, err := ParsePhrase(strings.Join(phrase[:], " "))
		switch {
		case err == nil:
			passed++
		case strings.HasSuffix(err.Error(), fmt.Sprintf("it is most likely in word %d", i+1)):
			right++
		case strings.Contains(err.Error(), "most likely"):
			wrong++
		case strings.HasSuffix(err.Error(), "it cannot be told which is wrong"):
			silent++
		default:
			t.Errorf("got %v", err)
		}
		leaksNothing(t, err, phrase)
	}
	t.Logf("named %d, another %d, none %d, not found %d", right, wrong, silent, passed)
	if all := right + wrong + silent + passed; wrong > 0 || right < all*3/4 || passed > all/32 {
		t.Errorf("of %d: named %d, another %d, none %d, not found %d", all, right, wrong, silent, passed)
	}
}

func TestWhatTheChecksumCannotTell(t *testing.T) {
	for what, text := range map[string]string{
		"two places exchanged": with(map[int]string{22: "journey", 23: "attend"}),
		"another word":         with(map[int]string{20: "zoo"}),
		"two other words":      with(map[int]string{20: "zoo", 1: "zoo"}),
	} {
		_, err := ParsePhrase(text)
		if errs.KindOf(err) != errs.KeyManagement || !strings.HasPrefix(err.Error(), "all 24 words are in the list, but they do not belong together: ") {
			t.Errorf("%s: got %v", what, err)
		}
		leaksNothing(t, err, Phrase(strings.Fields(text)))
	}
}

// leaksNothing checks that an error has no word of a phrase in it, but for
// words of ours that are in the list too.
func leaksNothing(t *testing.T, err error, phrase Phrase) {
	t.Helper()
	if err == nil {
		return
	}
	const ours = "together all letter list one order other they wrong word what that then found compare with"
	said := strings.FieldsFunc(err.Error()+" "+errs.HintFor(err), func(r rune) bool { return r < 'a' || r > 'z' })
	for _, word := range phrase {
		if slices.Contains(said, word) && !slices.Contains(strings.Fields(ours), word) {
			t.Errorf("%v, hint %q, has the word %s", err, errs.HintFor(err), word)
		}
	}
}

func TestEditsCountLettersAndNeighbours(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"a", "", 1}, {"word", "word", 0}, {"word", "ward", 1}, {"word", "sword", 1}, {"word", "wrod", 1},
		{"word", "wd", 2}, {"ability", "able", 4}, {"ca", "abc", 3}, {strings.Repeat("a", 17), "a", 17},
	} {
		if got, back := edits(tt.a, tt.b), edits(tt.b, tt.a); got != tt.want || back != tt.want {
			t.Errorf("%q, %q: got %d and %d, want %d", tt.a, tt.b, got, back, tt.want)
		}
	}
}

func TestNoVerbPrintsAPhrase(t *testing.T) {
	phrase := golden.Phrase()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		for _, v := range []any{phrase, &phrase, struct{ Phrase Phrase }{phrase}} {
			if text := fmt.Sprintf(verb, v); strings.Contains(text, "abandon") || strings.Contains(text, "6162616e646f6e") {
				t.Errorf("%s: %s", verb, text)
			}
		}
	}
}

func FuzzParsePhrase(f *testing.F) {
	f.Add(goldenWords)
	for _, v := range bip39(f) {
		f.Add(v.Words)
	}
	f.Add(string(readFile(f, "testdata/v1/words")))
	f.Add(with(map[int]string{1: "abandom"}))
	f.Add("1) abandon # 2")
	f.Fuzz(func(t *testing.T, text string) {
		root, err := ParsePhrase(text)
		if err != nil {
			if errs.KindOf(err) != errs.KeyManagement || errs.HintFor(err) == "" || len(err.Error())+len(errs.HintFor(err)) > 300 || root != (Root{}) {
				t.Errorf("%q: %v, hint %q", text, err, errs.HintFor(err))
			}
			return
		}
		if again, err := ParsePhrase(spell(root)); err != nil || again != root {
			t.Errorf("%q was read as %s, and that as another root, %v", text, spell(root), err)
		}
		lower := strings.ToLower(text)
		for _, word := range root.Phrase() {
			_, after, ok := strings.Cut(lower, word[:min(len(word), wordPrefix)])
			if !ok {
				t.Fatalf("%q was read as %s", text, spell(root))
			}
			lower = after
		}
	})
}
