//go:build unix

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const bashCompletion = "/usr/share/bash-completion/bash_completion"

// bash prepares a bash that has the completion of this program, as datamesh.
func bash(t *testing.T, home string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath("bash")
	if _, missing := os.Stat(bashCompletion); err != nil || missing != nil {
		t.Skipf("!!! there is no bash (%v), or no bash-completion (%v): nothing is known about completion in a real shell", err, missing)
	}
	cmd := command(t, home)
	bin := t.TempDir()
	if err := os.Symlink(cmd.Path, filepath.Join(bin, "datamesh")); err != nil {
		t.Fatal(err)
	}
	rc := filepath.Join(bin, "rc")
	text := "PS1='bash-ready '\nsource " + bashCompletion + "\nsource <(datamesh completion bash)\n"
	if err := os.WriteFile(rc, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd.Path, cmd.Args = path, append([]string{"bash", "--rcfile", rc}, args...)
	cmd.Env = append(cmd.Env, "BASH_ENV="+rc, "PATH="+bin+":"+os.Getenv("PATH"), "INPUTRC=/dev/null", "HISTFILE=", "LC_ALL=C.UTF-8")
	cmd.Dir = t.TempDir()
	return cmd
}

// replies asks bash how the last of the words goes on.
func replies(t *testing.T, home string, words ...string) []string {
	t.Helper()
	cmd := bash(t, home, "-c", `
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
		__start_datamesh "$1"
		printf '%s\n' "${COMPREPLY[@]}"`, "bash")
	cmd.Args = append(cmd.Args, words...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", words, err)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

func TestBashCompletesLive(t *testing.T) {
	home := filepath.Join(t.TempDir(), "home")
	stored(t, home, "photo.jpg")
	for _, tt := range []struct{ words, want []string }{
		{[]string{"datamesh", "inf"}, []string{"info"}},
		{[]string{"datamesh", "info", "ph"}, []string{"photo.jpg"}},
		{[]string{"datamesh", "download", "pho"}, []string{"photo.jpg"}},
		{[]string{"datamesh", "put", "--min"}, []string{"--min-survives"}},
		{[]string{"datamesh", "info", "nothing"}, []string{""}},
	} {
		var got []string
		for _, reply := range replies(t, home, tt.words...) {
			word, _, _ := strings.Cut(reply, " ") // the rest describes it
			got = append(got, word)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.words, diff)
		}
	}
}

func TestBashCompletesAtATerminal(t *testing.T) {
	home := filepath.Join(t.TempDir(), "home")
	stored(t, home, "my photo.jpg")
	s := onScreen(t, bash(t, home, "-i"))
	s.shows(t, "bash-ready ")
	s.types(t, "datamesh sho"+tab+"x")
	s.shows(t, "datamesh sho") // an alias, which is not offered
	s.types(t, "\x15datamesh inf"+tab+"my"+tab+enter)
	s.shows(t, "datamesh info my")
	s.shows(t, "survives")
	s.shows(t, "bash-ready ")
	s.types(t, "datamesh get my"+tab+"copy"+enter)
	s.shows(t, "out ")
	s.shows(t, "bash-ready ")
	s.types(t, "exit"+enter)
	s.task.wait(t)
	if b, err := os.ReadFile(filepath.Join(s.task.cmd.Dir, "copy")); err != nil || string(b) != "content of my photo.jpg" {
		t.Errorf("copy: %q, %v", b, err)
	}
}
