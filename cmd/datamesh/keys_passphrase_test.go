//go:build unix

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"datamesh/internal/keyring"
	"datamesh/internal/node"
)

// ofPassphrase tells the steps of setting a passphrase, at which
// TestPowerCutAtEachStepOfAPassphrase cuts.
func ofPassphrase(step string) bool { return strings.HasPrefix(step, "keyring: passphrase: ") }

// A process is killed at each step of setting a passphrase. The identity opens
// afterwards, with the passphrase of before or with the new one, and so do the
// identities that were imported.
func TestPowerCutAtEachStepOfAPassphrase(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	steps, one, two := filepath.Join(dir, "steps"), filepath.Join(dir, "one"), filepath.Join(dir, "two")
	if err := os.Mkdir(steps, 0o700); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{one: "one", two: "two", filepath.Join(dir, "age"): ageIdentity} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	left := slices.DeleteFunc(allSteps(t), func(step string) bool { return !ofPassphrase(step) })
	if len(left) == 0 {
		t.Fatal("there is no step")
	}
	for what, act := range map[string]struct{ before, args []string }{
		"set":    {nil, []string{"--new-passphrase-file", two}},
		"change": {[]string{"--new-passphrase-file", one}, []string{"--passphrase-file", one, "--new-passphrase-file", two}},
		"remove": {[]string{"--new-passphrase-file", one}, []string{"--passphrase-file", one, "--remove"}},
	} {
		for _, at := range slices.Concat([]string{""}, allSteps(t)) {
			if at != "" && !ofPassphrase(at) {
				continue
			}
			home := t.TempDir()
			if err := os.WriteFile(filepath.Join(home, "identity"), []byte(goldenIdentity), 0o600); err != nil {
				t.Fatal(err)
			}
			succeeds(t, home, "keys", "import", filepath.Join(dir, "age"))
			if act.before != nil {
				succeeds(t, home, append([]string{"keys", "passphrase"}, act.before...)...)
			}
			for name, text := range map[string]string{stepsReached: "", stepToDieAt: at} {
				if err := os.WriteFile(filepath.Join(steps, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cmd := command(t, home, append([]string{"keys", "passphrase"}, act.args...)...)
			cmd.Env = append(cmd.Environ(), stepsDir+"="+steps)
			o := start(t, cmd).wait(t)
			reached, err := os.ReadFile(filepath.Join(steps, stepsReached))
			if err != nil {
				t.Fatal(err)
			}
			if died := at != "" && strings.Contains(string(reached), at); died == (o.code == 0) {
				t.Errorf("%s, cut at %q: exit status %d", what, at, o.code)
			} else if died {
				left = slices.DeleteFunc(left, func(s string) bool { return s == at })
			}
			if !slices.ContainsFunc([]string{"one", "two"}, func(passphrase string) bool {
				f := &keyring.File{Path: filepath.Join(home, "identity"), Ask: func(string) (string, error) { return passphrase, nil }}
				ring, err := f.Load()
				return err == nil && len(ring.Identities) == 2
			}) {
				t.Errorf("%s, cut at %q: it does not open", what, at)
			}
		}
	}
	for _, at := range left {
		t.Errorf("nothing has reached %q", at)
	}
}

// succeeds runs a command that must succeed.
func succeeds(t *testing.T, home string, args ...string) {
	t.Helper()
	if o := start(t, command(t, home, args...)).wait(t); o.code != 0 {
		t.Fatalf("%v exited with %d: %s", args, o.code, o.stderr)
	}
}

// ageIdentity is one of nobody.
const ageIdentity = "AGE-SECRET-KEY-1VPGRPYC7SP3NKDWLDDY0GUMC46MA0HP08FXSFM30H6UJFNS3SD9QUD9JV4\n"

func TestAPassphraseIsTypedAndNotShown(t *testing.T) {
	home := t.TempDir()
	identity := filepath.Join(home, "identity")
	if err := os.WriteFile(identity, []byte(goldenIdentity), 0o600); err != nil {
		t.Fatal(err)
	}
	// session runs a command, types what it asks for, and waits for what it says.
	session := func(code int, args []string, says string, answers ...string) {
		t.Helper()
		s := onScreen(t, command(t, home, args...))
		for i := 0; i < len(answers); i += 2 {
			s.shows(t, answers[i])
			eventually(t, "the terminal is silent", func() bool { return !s.echoes(t) })
			s.types(t, answers[i+1]+enter)
		}
		s.shows(t, says)
		if o := s.task.wait(t); o.code != code {
			t.Errorf("%v: exit status %d, want %d: %s", args, o.code, code, s.all())
		}
		if strings.Contains(s.all(), "typed-") || !s.echoes(t) {
			t.Errorf("%v: the terminal shows what was typed, or nothing any more: %q", args, s.all())
		}
	}
	set := []string{"keys", "passphrase"}
	session(2, set, "two different passphrases", "the new passphrase, which is not shown: ", "typed-one", "once more: ", "typed-other")
	session(2, set, "the passphrase is empty", "the new passphrase, which is not shown: ", "")
	if sealed, err := keyring.At(identity).Protected(); err != nil || sealed {
		t.Errorf("sealed: %t, %v", sealed, err)
	}
	session(0, set, "has a passphrase now", "the new passphrase, which is not shown: ", "typed-one", "once more: ", "typed-one")
	if sealed, err := keyring.At(identity).Protected(); err != nil || !sealed {
		t.Errorf("sealed: %t, %v", sealed, err)
	}
	session(6, []string{"keys", "verify"}, "the passphrase is wrong", "passphrase of ", "typed-wrong")
	session(0, []string{"keys", "init", "-q"}, "24. unaware", "passphrase of ", "typed-one")
	session(0, set, "has a passphrase now", "passphrase of ", "typed-one", "the new passphrase, which is not shown: ", "typed-two", "once more: ", "typed-two")
	session(6, append(set, "--remove"), "the passphrase is wrong", "passphrase of ", "typed-one")
	session(0, append(set, "--remove"), "has no passphrase any more", "passphrase of ", "typed-two")
	if sealed, err := keyring.At(identity).Protected(); err != nil || sealed {
		t.Errorf("sealed: %t, %v", sealed, err)
	}
}

// A service that does not know the passphrase goes on storing, and says once that
// it keeps no names. Commands then do what needs the keys themselves. One that
// knows it does that for them.
func TestAServiceAndTheIdentityOfItsHomeThatHasAPassphrase(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 3)
	x := m.members[1]
	passphrase := filepath.Join(m.dir, "passphrase")
	if err := os.WriteFile(passphrase, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := x.put(t, []byte("before"), "--name", "before")
	words := x.words(t)
	result[any](t, x.run(t, "keys", "passphrase", "--new-passphrase-file", passphrase))

	// The service that runs has not been told, and asks nobody.
	if id := result[node.Identity](t, x.run(t, "id")); !id.Locked || len(id.Addrs) == 0 {
		t.Errorf("got %+v, want a locked identity of a node that runs", id)
	}
	if p := problem(t, x.run(t, "get", "before", "-"), 6); p.Kind != "Authentication" || !strings.Contains(p.Hint, "--passphrase-file") {
		t.Errorf("without the passphrase: %+v", p)
	}
	if list := result[node.List](t, x.run(t, "list")); len(list.Objects) != 1 {
		t.Errorf("the catalog has %d objects, want 1", len(list.Objects))
	}
	if got := x.run(t, "get", "before", "-", "--passphrase-file", passphrase); got.code != 0 || string(got.stdout) != "before" {
		t.Errorf("exit status %d: %s", got.code, got.stderr)
	}
	x.put(t, []byte("by a client"), "--name", "by a client", "--passphrase-file", passphrase)
	wantPassphrase := func(status, detail string) {
		t.Helper()
		var d node.Diagnosis
		o := x.run(t, "doctor")
		if err := json.Unmarshal(o.stdout, &d); err != nil {
			t.Fatalf("%v: %s", err, o.stderr)
		}
		for _, c := range d.Checks {
			if c.Name == "passphrase" && c.Status == status && strings.Contains(c.Detail, detail) {
				return
			}
		}
		t.Errorf("doctor says %+v, want %s: %s", d.Checks, status, detail)
	}
	wantPassphrase(node.CheckWarning, "the node does not know that of the identity")

	// Started anew it says so, once, and stores for others.
	kill(x)
	restart(t, x)
	m.settle(t)
	const said = "names are not kept in the mesh until this node knows the passphrase of the identity"
	eventually(t, "it is logged that names are not kept", func() bool {
		log, err := os.ReadFile(x.log())
		return err == nil && strings.Contains(string(log), said)
	})
	other := m.user(t)
	if stored := other.put(t, noisy(1, 100_000)); stored.Peers != 3 {
		t.Errorf("%d members hold shards of what another has put, want all 3", stored.Peers)
	}
	wantPassphrase(node.CheckWarning, "nobody can be asked")

	// With the setting it does everything, and nobody needs to type anything.
	kill(x)
	x.env = append(x.env, "DATAMESH_KEYS_PASSPHRASE_FILE="+passphrase)
	restart(t, x)
	m.settle(t)
	x.env = x.env[:len(x.env)-1]
	if id := result[node.Identity](t, x.run(t, "id")); id.Locked {
		t.Errorf("got %+v, want one that is open", id)
	}
	wantPassphrase(node.CheckOK, "the node knows that of the identity")
	x.reads(t, before.ID, []byte("before"))
	x.put(t, []byte("by the service"), "--name", "by the service")

	// All of that is in the mesh.
	if r := result[node.Recovered](t, m.newcomer().recovers(t, words)); r.Objects != 3 {
		t.Errorf("got %+v, want 3 objects", r)
	}

	// A wrong passphrase in the file is as none, and says so.
	if err := os.WriteFile(passphrase, []byte("other\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	kill(x)
	x.env = append(x.env, "DATAMESH_KEYS_PASSPHRASE_FILE="+passphrase)
	restart(t, x)
	m.settle(t)
	wantPassphrase(node.CheckWarning, "the passphrase is wrong")
	if p := problem(t, x.run(t, "get", "before", "-"), 6); p.Kind != "Authentication" || !strings.Contains(p.Error, "the passphrase is wrong") {
		t.Errorf("got %+v", p)
	}
}
