//go:build unix

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"

	"datamesh/internal/node"
)

// A screen is a pseudo-terminal with a process on it, and all that was written
// to it.
type screen struct {
	tty  *os.File // our end
	task *task

	mu   sync.Mutex // guards seen and mark
	seen []byte
	mark int           // where what is looked for may begin
	more chan struct{} // has one when something was written
}

// onScreen starts a process on a terminal of its own.
func onScreen(t *testing.T, cmd *exec.Cmd) *screen {
	t.Helper()
	ours, its, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close() })
	if err := pty.Setsize(ours, &pty.Winsize{Rows: 24, Cols: 120}); err != nil {
		t.Fatal(err)
	}
	cmd.Stdin = its
	if cmd.Stdout == nil {
		cmd.Stdout = its
	}
	if cmd.Stderr == nil {
		cmd.Stderr = its
	}
	cmd.Env = append(cmd.Env, "TERM=xterm")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	s := &screen{tty: ours, task: start(t, cmd), more: make(chan struct{}, 1)}
	t.Cleanup(func() { its.Close() }) // open until then, so that its mode can be read
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := ours.Read(buf)
			s.mu.Lock()
			s.seen = append(s.seen, buf[:n]...)
			s.mu.Unlock()
			select {
			case s.more <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	return s
}

// shows waits until the screen shows a text behind what it was last found to.
func (s *screen) shows(t *testing.T, text string) {
	t.Helper()
	hang := time.After(guard)
	for {
		s.mu.Lock()
		i := bytes.Index(s.seen[s.mark:], []byte(text))
		if i >= 0 {
			s.mark += i + len(text)
		}
		rest := string(s.seen[s.mark:])
		s.mu.Unlock()
		if i >= 0 {
			return
		}
		select {
		case <-s.more:
		case <-hang:
			t.Fatalf("waited in vain for %q in %q", text, rest)
		}
	}
}

func (s *screen) types(t *testing.T, keys string) {
	t.Helper()
	if _, err := s.tty.WriteString(keys); err != nil {
		t.Fatal(err)
	}
}

// mode returns the state of the terminal, as text to compare.
func (s *screen) mode(t *testing.T) term.State {
	t.Helper()
	state, err := term.GetState(int(s.tty.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return *state
}

// consoleIn starts a console in a home.
func consoleIn(t *testing.T, home string, flags ...string) *screen {
	t.Helper()
	s := onScreen(t, command(t, home, append(flags, "interactive")...))
	s.shows(t, prompt)
	return s
}

// stored puts a file of the name in the home.
func stored(t *testing.T, home, name string) {
	t.Helper()
	put := command(t, home, "put", "-", "--name", name)
	put.Stdin = strings.NewReader("content of " + name)
	ask(t, put, new(node.Stored))
}

const (
	tab   = "\t"
	enter = "\r"
	up    = "\x1b[A"
	ctrlC = "\x03"
	ctrlD = "\x04"
)

func TestConsoleCompletesAndRemembers(t *testing.T) {
	home := filepath.Join(t.TempDir(), "home")
	stored(t, home, "my übung.txt")
	s := consoleIn(t, home)
	s.types(t, "lis"+tab+enter)
	s.shows(t, "NAME")
	s.shows(t, "my übung.txt")
	s.shows(t, prompt)
	s.types(t, "show my"+tab+enter)
	s.shows(t, `my\ übung.txt`)
	s.shows(t, "survives")
	s.shows(t, prompt)
	s.types(t, " version"+enter) // which is not kept
	s.shows(t, "datamesh 0.1")
	s.shows(t, prompt)
	s.types(t, ctrlD)
	if o := s.task.wait(t); o.code != 0 {
		t.Errorf("Ctrl-D: exit status %d", o.code)
	}

	b, err := os.ReadFile(filepath.Join(home, "history"))
	if want := "list \nshow my\\ übung.txt \n"; err != nil || string(b) != want {
		t.Errorf("history: %q, %v, want %q", b, err, want)
	}

	s = consoleIn(t, home)
	s.types(t, up+up+enter)
	s.shows(t, "NAME")
	s.shows(t, prompt)
	s.types(t, "exit"+enter)
	s.task.wait(t)
}

// fifo makes a named pipe. The function waits until somebody reads from it.
func fifo(t *testing.T) (path string, reads func() *os.File) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, func() *os.File {
		t.Helper()
		w, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
}

func TestInterruptEndsAScript(t *testing.T) {
	path, reads := fifo(t)
	cmd := command(t, t.TempDir(), "interactive")
	cmd.Stdin = strings.NewReader("put " + path + "\nversion\n")
	task := start(t, cmd)
	defer reads().Close()
	task.signal(t, os.Interrupt)
	if o := task.wait(t); o.code != 130 || len(o.stdout) > 0 {
		t.Errorf("exit status %d, want 130; printed %q", o.code, o.stdout)
	}
}

func TestConsoleOutlivesTheCommandThatIsInterrupted(t *testing.T) {
	home := t.TempDir()
	s := consoleIn(t, home)
	for range 2 {
		path, reads := fifo(t)
		s.types(t, "put "+path+enter)
		w := reads()
		s.types(t, ctrlC)
		s.shows(t, "interrupted")
		s.shows(t, "exit status 130")
		s.shows(t, prompt)
		w.Close()
	}
	s.types(t, "a line that is given up")
	s.shows(t, "given up") // by the editor, which from then on gets all keys
	s.types(t, ctrlC)
	s.shows(t, prompt)
	s.types(t, "version"+enter)
	s.shows(t, "datamesh 0.1")
	s.types(t, "quit"+enter)
	if o := s.task.wait(t); o.code != 0 {
		t.Errorf("exit status %d", o.code)
	}
}

func TestConsoleLivesThroughAResize(t *testing.T) {
	s := consoleIn(t, t.TempDir())
	s.types(t, "vers")
	s.shows(t, "vers")
	for _, columns := range []uint16{20, 5, 200} {
		if err := pty.Setsize(s.tty, &pty.Winsize{Rows: 10, Cols: columns}); err != nil {
			t.Fatal(err)
		}
	}
	s.types(t, "ion"+enter)
	s.shows(t, "datamesh 0.1")
	s.shows(t, prompt)
	s.types(t, ctrlD)
	if o := s.task.wait(t); o.code != 0 {
		t.Errorf("exit status %d", o.code)
	}
}

func TestConsoleGivesTheTerminalBack(t *testing.T) {
	for name, end := range map[string]func(*screen){
		"exit":    func(s *screen) { s.types(t, "exit"+enter) },
		"Ctrl-D":  func(s *screen) { s.types(t, ctrlD) },
		"SIGTERM": func(s *screen) { s.task.signal(t, syscall.SIGTERM) },
		"SIGTERM in a command": func(s *screen) {
			path, w := fifo(t)
			s.types(t, "put "+path+enter)
			defer w().Close()
			s.task.signal(t, syscall.SIGTERM)
			s.task.wait(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			fresh := onScreen(t, command(t, t.TempDir(), "version"))
			fresh.task.wait(t)
			s := consoleIn(t, t.TempDir())
			eventually(t, "the editor has the terminal", func() bool { return s.mode(t) != fresh.mode(t) })
			end(s)
			o := s.task.wait(t)
			if s.mode(t) != fresh.mode(t) {
				t.Error("the terminal is not what it was")
			}
			if want := map[bool]int{true: 130}[strings.HasPrefix(name, "SIGTERM")]; o.code != want {
				t.Errorf("exit status %d, want %d", o.code, want)
			}
		})
	}
}

func TestConsoleWritesNothingButDataToAPipe(t *testing.T) {
	home := t.TempDir()
	cmd := command(t, home, "interactive")
	cmd.Stdout = new(bytes.Buffer)
	s := onScreen(t, cmd)
	s.types(t, "version --json\nlist --json\nexit\n")
	if o := s.task.wait(t); o.code != 0 {
		t.Errorf("exit status %d", o.code)
	}
	out := cmd.Stdout.(*bytes.Buffer).String()
	lines := strings.Split(out, "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], `{"version":`) || lines[1] != `{"objects":[]}` {
		t.Errorf("%q", out)
	}
}
