//go:build unix

package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/plugin"

	"datamesh/internal/api"
	"datamesh/internal/config"
	"datamesh/internal/errs"
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

// A poorService has not the keys of what it is asked for, which it may notice late.
type poorService struct {
	api.Operations
	object node.Object
	half   []byte // what it sends before
}

func (s poorService) List(_ context.Context, _ node.ListOptions, each func(node.Object) error) error {
	return each(s.object)
}

func (s poorService) Get(_ context.Context, _ string, _ node.GetOptions, open func(node.ObjectInfo) (io.Writer, error)) (*node.Fetched, error) {
	if s.half != nil {
		w, err := open(node.ObjectInfo{ID: s.object.ID, Name: s.object.Name, Size: s.object.Size})
		if err == nil {
			_, err = w.Write(s.half)
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, errs.New(errs.Decryption, "it is sealed for another identity")
}

// What a service could not decrypt a command reads itself, unless some of it is on
// standard output.
func TestNothingIsReadAgainBehindWhatIsWritten(t *testing.T) {
	t.Parallel()
	u := alone(t)
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	identity := filepath.Join(t.TempDir(), "identity.txt")
	if err := os.WriteFile(identity, []byte(plugin.EncodeIdentity("test", []byte("c"+key.String()))+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	u.env = append(u.env, "PATH="+pluginDir(t)+string(os.PathListSeparator)+os.Getenv("PATH"))
	result[node.Identity](t, u.run(t, "keys", "import", identity))
	content := bytes.Repeat([]byte("whole"), 30_000) // more than is read ahead of its turn
	u.put(t, content, "--name", "o")
	object := result[node.List](t, u.run(t, "list")).Objects[0]
	whole := u.run(t, "export", "o").stdout
	serve := func(half []byte) (stop func()) {
		listener, err := api.Listen(t.Context(), config.Home(u.home).Socket())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error)
		go func() { served <- api.Serve(ctx, listener, poorService{object: object, half: half}) }()
		return func() {
			cancel()
			if err := <-served; err != nil {
				t.Error(err)
			}
		}
	}
	stop := serve(nil)
	if o := u.run(t, "get", "o", "-"); o.code != 0 || !bytes.Equal(o.stdout, content) {
		t.Errorf("get: exit status %d, %d bytes: %s", o.code, len(o.stdout), o.stderr)
	}
	if o := u.run(t, "export", "o"); o.code != 0 || !bytes.Equal(o.stdout, whole) {
		t.Errorf("export: exit status %d, %d bytes of %d: %s", o.code, len(o.stdout), len(whole), o.stderr)
	}
	stop()
	defer serve([]byte("half"))()
	if o := u.run(t, "get", "o", "-"); o.code != 6 || string(o.stdout) != "half" {
		t.Errorf("get: exit status %d, %d bytes: %s", o.code, len(o.stdout), o.stderr)
	}
	if o := u.run(t, "export", "o"); o.code != 6 || len(o.stdout) >= len(content) {
		t.Errorf("export: exit status %d, %d bytes: %s", o.code, len(o.stdout), o.stderr)
	}
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
