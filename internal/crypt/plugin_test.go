package crypt

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"datamesh/internal/errs"

	"filippo.io/age"
	"filippo.io/age/plugin"
)

// plugged has the program of the test's plugin in PATH.
func plugged(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	name := filepath.Join(dir, "age-plugin-test")
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	if out, err := exec.Command("go", "build", "-o", name, "./testdata/age-plugin-test").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// pair returns a recipient and an identity of a plugin, which do what the first
// letter says.
func pair(t *testing.T, name string, does byte) (recipient, identity string) {
	t.Helper()
	x, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return plugin.EncodeRecipient(name, append([]byte{does}, x.Recipient().String()...)),
		plugin.EncodeIdentity(name, append([]byte{does}, x.String()...))
}

// told is a UI that answers, and remembers what it was told.
type told struct{ said []string }

func (u *told) ui(pin string) *UI {
	say := func(format string, args ...any) { u.said = append(u.said, fmt.Sprintf(format, args...)) }
	return &UI{
		Show: func(name, message string) { say("%s: %s", name, message) },
		Ask: func(name, prompt string, secret bool) (string, error) {
			say("%s? %s %t", name, prompt, secret)
			return pin, nil
		},
		Confirm: func(name, prompt, yes, no string) (bool, error) {
			say("%s? %s %s/%s", name, prompt, yes, no)
			return true, nil
		},
	}
}

// through parses both, and asks the plugin.
func through(t *testing.T, recipient, identity string, ui *UI) (Recipient, Identity) {
	t.Helper()
	r, err := ParseRecipient(recipient)
	if err != nil {
		t.Fatal(err)
	}
	if r, err = r.Through(ui); err != nil {
		t.Fatal(err)
	}
	ids, err := ParseIdentities(strings.NewReader("# a comment\n\n" + identity + "\n"))
	if err != nil || len(ids) != 1 {
		t.Fatalf("got %v, %v", ids, err)
	}
	id, err := ids[0].Through(ui)
	if err != nil {
		t.Fatal(err)
	}
	return r, id
}

func TestRecipientsOfPluginsOpenThroughThem(t *testing.T) {
	plugged(t)
	mine, me, err := NewIdentity([32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := NewIdentity([32]byte{2})
	if err != nil {
		t.Fatal(err)
	}
	for does, classic := range map[byte]bool{'c': true, 'q': false} {
		recipient, identity := pair(t, "test", does)
		r, id := through(t, recipient, identity, new(told).ui(""))
		if r.Classic() != classic || r.Plugin() != "test" || id.Plugin() != "test" || r.String() != recipient {
			t.Errorf("%c: classic %t, plugins %q and %q, text %q", does, r.Classic(), r.Plugin(), id.Plugin(), r)
		}
		key := Key{9}
		wraps, err := Wrap(key, []Recipient{me, r})
		if err != nil {
			t.Fatal(err)
		}
		if want := map[bool]int{true: 2, false: 1}[classic]; len(wraps) != want {
			t.Errorf("%c: %d envelopes, want %d", does, len(wraps), want)
		}
		for what, ids := range map[string][]Identity{"its owner": {mine}, "the plugin": {id}, "both": {id, mine}, "the plugin beside another": {other, id}} {
			if got, err := Unwrap(wraps, ids); err != nil || got != key {
				t.Errorf("%c: %s: %v", does, what, err)
			}
		}
		_, stranger := pair(t, "test", does)
		_, strange := through(t, recipient, stranger, new(told).ui(""))
		if _, err := Unwrap(wraps, []Identity{other, strange}); errs.KindOf(err) != errs.Decryption {
			t.Errorf("%c: another key: %v", does, err)
		}
	}
}

// Whoever has the keys himself is not asked to touch one.
func TestAPluginIsNotRunForWhatOthersOpen(t *testing.T) {
	mine, me, err := NewIdentity([32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	classic, err := ParseRecipient("age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj")
	if err != nil {
		t.Fatal(err)
	}
	_, identity := pair(t, "missing", 'c') // to run it would be an error
	ids, err := ParseIdentities(strings.NewReader(identity))
	if err != nil {
		t.Fatal(err)
	}
	id, err := ids[0].Through(new(told).ui(""))
	if err != nil {
		t.Fatal(err)
	}
	wraps, err := Wrap(Key{1}, []Recipient{me, classic})
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(wraps) // that which does not fit comes first
	if got, err := Unwrap(wraps, []Identity{id, mine}); err != nil || got != (Key{1}) {
		t.Error(err)
	}
	// Nor is one that was not asked for.
	if _, err := Unwrap(wraps, ids); errs.KindOf(err) != errs.Decryption {
		t.Errorf("a plugin that may not be run: %v", err)
	}
	// Nor for an envelope that is damaged.
	wraps[0][len(wraps[0])-1] ^= 1
	wraps[1][len(wraps[1])-1] ^= 1
	if _, err := Unwrap(wraps, []Identity{id, mine}); errs.KindOf(err) != errs.Integrity {
		t.Errorf("a damaged envelope: %v", err)
	}
}

func TestAPluginThatIsNotThere(t *testing.T) {
	recipient, identity := pair(t, "missing", 'c')
	r, err := ParseRecipient(recipient)
	if err != nil {
		t.Fatal(err)
	}
	_, fromRecipient := r.Through(new(told).ui(""))
	ids, err := ParseIdentities(strings.NewReader(identity))
	if err != nil {
		t.Fatal(err)
	}
	id, err := ids[0].Through(new(told).ui(""))
	if err != nil {
		t.Fatal(err)
	}
	_, me, err := NewIdentity([32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	wraps, err := Wrap(Key{1}, []Recipient{me})
	if err != nil {
		t.Fatal(err)
	}
	_, fromIdentity := Unwrap(wraps, []Identity{id})
	for _, err := range []error{fromRecipient, fromIdentity} {
		if errs.KindOf(err) != errs.KeyManagement || err.Error() != "the program age-plugin-missing is not installed" || !strings.HasPrefix(errs.HintFor(err), "install age-plugin-missing") {
			t.Errorf("got %v, hint %q", err, errs.HintFor(err))
		}
	}
}

func TestAPluginTalksToTheUser(t *testing.T) {
	plugged(t)
	recipient, identity := pair(t, "test", 'p')
	var u told
	r, id := through(t, recipient, identity, u.ui("1234"))
	wraps, err := Wrap(Key{1}, []Recipient{r})
	if err != nil {
		t.Fatal(err)
	}
	u.said = nil
	if _, err := Unwrap(wraps, []Identity{id}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"test? PIN true", "test: touch it", "test? go on? yes/no"}; !slices.Equal(u.said, want) {
		t.Errorf("it said %q, want %q", u.said, want)
	}
	if id, err = id.Through(new(told).ui("0000")); err != nil {
		t.Fatal(err)
	}
	if _, err := Unwrap(wraps, []Identity{id}); errs.KindOf(err) != errs.KeyManagement || !strings.Contains(err.Error(), "the PIN is wrong") {
		t.Errorf("a wrong PIN: %v", err)
	}
}

func TestPluginsThatDoNotWork(t *testing.T) {
	plugged(t)
	for does, says := range map[byte]string{'o': "cannot be mixed", 'f': "not plugged in", 'p': "the PIN is wrong"} {
		recipient, _ := pair(t, "test", does)
		r, err := ParseRecipient(recipient)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = r.Through(new(told).ui("")); errs.KindOf(err) != errs.KeyManagement || !strings.Contains(err.Error(), says) || errs.HintFor(err) == "" {
			t.Errorf("%c: got %v, hint %q", does, err, errs.HintFor(err))
		}
	}
	recipient, identity := pair(t, "test", 'l')
	r, _ := through(t, recipient, identity, new(told).ui(""))
	if _, err := Wrap(Key{1}, []Recipient{r}); errs.KindOf(err) != errs.Encryption {
		t.Errorf("too much: got %v", err)
	}
}

func TestAPluginThatHangsIsGivenUp(t *testing.T) {
	plugged(t)
	was := PluginTime
	PluginTime = 200 * time.Millisecond
	defer func() { PluginTime = was }()
	recipient, _ := pair(t, "test", 'h')
	r, err := ParseRecipient(recipient)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Through(new(told).ui("")); errs.KindOf(err) != errs.KeyManagement || !strings.Contains(err.Error(), "age-plugin-test did not answer within 200ms") {
		t.Errorf("got %v", err)
	}
}

func TestTextsOfPluginsThatAreMistyped(t *testing.T) {
	recipient, identity := pair(t, "test", 'c')
	for _, s := range []string{recipient[:len(recipient)-1], strings.Replace(recipient, "age1test1", "age1tesst1", 1), "age1test1"} {
		if _, err := ParseRecipient(s); errs.KindOf(err) != errs.Invalid {
			t.Errorf("%s: got %v", s, err)
		}
	}
	for _, s := range []string{identity[:len(identity)-1], "AGE-PLUGIN-", strings.ToLower(identity)} {
		if _, err := ParseIdentities(strings.NewReader(s)); errs.KindOf(err) != errs.KeyManagement || strings.Contains(err.Error(), identity[20:40]) {
			t.Errorf("%s: got %v", s, err)
		}
	}
	ids, err := ParseIdentities(strings.NewReader(identity))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{fmt.Sprint(ids), fmt.Sprintf("%+v", ids[0]), fmt.Sprintf("%#v", ids)} {
		if strings.Contains(s, identity[20:40]) {
			t.Errorf("it prints as %s", s)
		}
	}
}
