//go:build unix

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/plugin"

	"datamesh/internal/node"
)

// pluginDir builds the plugin of the tests, and returns where it lies.
func pluginDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "age-plugin-test"), "./internal/crypt/testdata/age-plugin-test")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir
}

// Commands run the programs of plugins, and services never do: those here have
// none in their PATH.
func TestKeysOfPluginsAreUsedByCommandsAlone(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 4)
	plugins := "PATH=" + pluginDir(t) + string(os.PathListSeparator) + os.Getenv("PATH")
	owner, friend, stranger := m.members[1], m.members[2], m.user(t)
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	identity := filepath.Join(m.dir, "identity.txt")
	if err := os.WriteFile(identity, []byte("# of a key that I have\n"+plugin.EncodeIdentity("test", []byte("c"+key.String()))+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	recipient := func(does string) string {
		return plugin.EncodeRecipient("test", []byte(does+key.Recipient().String()))
	}
	result[node.Identity](t, friend.run(t, "keys", "import", identity))

	// Without the program nothing is stored.
	put := func(flags ...string) outcome {
		cmd := owner.command(append([]string{"put", "-"}, flags...)...)
		cmd.Stdin = strings.NewReader("for a friend")
		return start(t, cmd).wait(t)
	}
	if p := problem(t, put("--to", recipient("c")), 6); p.Kind != "KeyManagement" || !strings.HasSuffix(p.Error, "the program age-plugin-test is not installed") || !strings.HasPrefix(p.Hint, "install age-plugin-test") {
		t.Errorf("put: %+v", p)
	}
	if list := result[node.List](t, owner.run(t, "list")); len(list.Objects) != 0 {
		t.Errorf("%d objects are stored", len(list.Objects))
	}
	owner.env = append(owner.env, plugins)
	o := put("--to", recipient("f"))
	if p := problem(t, o, 6); !strings.Contains(p.Error, "not plugged in") || strings.Contains(string(o.stderr), "\x1b") {
		t.Errorf("put to a key that is not at hand: %+v", p)
	}
	if p := problem(t, put("--to", recipient("p")), 6); !strings.Contains(p.Error, "the PIN is wrong") {
		t.Errorf("put to a key that asks, where nobody answers: %+v", p)
	}

	for does, classic := range map[string]bool{"c": true, "q": false} {
		stored := result[node.Stored](t, put("--to", recipient(does), "--name", does))
		if warned := strings.Contains(strings.Join(stored.Warnings, " "), "classic"); warned != classic {
			t.Errorf("%s: put warns %q", does, stored.Warnings)
		}
		owner.reads(t, stored.ID, []byte("for a friend"))
		friend.env = nil
		if p := problem(t, friend.run(t, "get", stored.ID.String(), "-"), 6); p.Kind != "KeyManagement" || !strings.HasPrefix(p.Hint, "install age-plugin-test") {
			t.Errorf("%s: get without the program: %+v", does, p)
		}
		friend.env = append(friend.env, plugins)
		friend.reads(t, stored.ID, []byte("for a friend"))
		if p := problem(t, stranger.run(t, "get", stored.ID.String(), "-"), 6); p.Kind != "Decryption" {
			t.Errorf("%s: get by a stranger: %+v", does, p)
		}
	}

	// Under a passphrase it is kept from those who do not know that.
	passphrase := filepath.Join(m.dir, "passphrase")
	if err := os.WriteFile(passphrase, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	result[passphraseSet](t, friend.run(t, "keys", "passphrase", "--new-passphrase-file", passphrase))
	if o = friend.run(t, "get", "c", "-"); o.code != 6 {
		t.Errorf("exit status %d: %s", o.code, o.stderr)
	}
	stored := result[node.List](t, owner.run(t, "list")).Objects[0]
	if got := friend.run(t, "get", stored.ID.String(), "-", "--passphrase-file", passphrase); got.code != 0 || string(got.stdout) != "for a friend" {
		t.Errorf("exit status %d: %s", got.code, got.stderr)
	}
}
