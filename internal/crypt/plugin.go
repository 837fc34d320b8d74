package crypt

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"datamesh/internal/errs"

	"filippo.io/age"
	"filippo.io/age/plugin"
)

// Recipients and identities of age's plugins, such as those of keys in hardware,
// are the texts of programs that are called age-plugin-NAME. To wrap or unwrap a
// key runs that program, as the user who asks for it. So it is done only where
// there is a [UI].

// A UI is how the program of a plugin talks to the user. Its functions may be
// called by another goroutine; an error of one is told to the program alone.
type UI struct {
	Show    func(name, message string)
	Ask     func(name, prompt string, secret bool) (string, error)
	Confirm func(name, prompt, yes, no string) (isYes bool, err error)
}

func (u *UI) client() *plugin.ClientUI {
	return &plugin.ClientUI{
		DisplayMessage: func(name, message string) error { u.Show(name, message); return nil },
		RequestValue:   u.Ask,
		Confirm:        u.Confirm,
		WaitTimer:      func(name string) { u.Show(name, "waiting for the program; the key may want to be touched") },
	}
}

// PluginTime is how long the program of a plugin may take, with all that it
// asks the user. Only a test sets it.
var PluginTime = 2 * time.Minute

// postQuantum is the label by which age knows what it may mix with hybrid
// recipients.
const postQuantum = "postquantum"

// pluginOf returns the name of the plugin of a recipient in text, or "".
func pluginOf(recipient string) string {
	name, _, err := plugin.ParseRecipient(recipient)
	if err != nil || name == "" {
		return ""
	}
	return name
}

// Plugin returns the name of the plugin whose program wraps keys for the
// recipient; "": none is needed.
func (r Recipient) Plugin() string {
	if p, ok := r.age.(interface{ Name() string }); ok { // no other has one
		return p.Name()
	}
	return ""
}

// Through returns the recipient as its plugin has it, whose program it runs once,
// to find out whether it is there, and whether what it makes is classic. Kind:
// KeyManagement.
func (r Recipient) Through(ui *UI) (Recipient, error) {
	p, err := plugin.NewRecipient(r.String(), ui.client())
	if err != nil {
		return r, errs.New(errs.KeyManagement, "%w", err)
	}
	bounded := boundedRecipient{p}
	fileKey := make([]byte, 16)
	rand.Read(fileKey) // never fails
	_, labels, err := bounded.WrapWithLabels(fileKey)
	if err != nil {
		return r, pluginError(p.Name(), err)
	}
	switch {
	case len(labels) == 0:
		return Recipient{age: bounded, classic: true, text: r.text}, nil
	case slices.Equal(labels, []string{postQuantum}):
		return Recipient{age: bounded, text: r.text}, nil
	}
	return r, errs.WithHint(errs.New(errs.KeyManagement, "recipients of age-plugin-%s cannot be mixed with others", p.Name()),
		"leave it out: an object is sealed to its owner, too")
}

// pluginError says what to do about an error of a plugin. Kind: KeyManagement.
func pluginError(name string, err error) error {
	if errors.As(err, new(*plugin.NotFoundError)) {
		return errs.WithHint(errs.New(errs.KeyManagement, "the program age-plugin-%s is not installed", name),
			"install age-plugin-%s where PATH has it; see that it runs: age-plugin-%s --help", name, name)
	}
	return errs.WithHint(errs.New(errs.KeyManagement, "%w", err), "see whether its key is at hand, and what age says of it: age -d")
}

// A boundedRecipient gives up on a program that takes too long.
type boundedRecipient struct{ *plugin.Recipient }

func (r boundedRecipient) Wrap(fileKey []byte) ([]*age.Stanza, error) {
	stanzas, _, err := r.WrapWithLabels(fileKey)
	return stanzas, err
}

func (r boundedRecipient) WrapWithLabels(fileKey []byte) ([]*age.Stanza, []string, error) {
	type wrapped struct {
		stanzas []*age.Stanza
		labels  []string
	}
	w, err := bounded(r.Name(), func() (w wrapped, err error) {
		w.stanzas, w.labels, err = r.Recipient.WrapWithLabels(fileKey)
		return w, err
	})
	return w.stanzas, w.labels, err
}

type boundedIdentity struct{ *plugin.Identity }

func (i boundedIdentity) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	return bounded(i.Name(), func() ([]byte, error) { return i.Identity.Unwrap(stanzas) })
}

// bounded returns what do does, unless that takes too long. The program, which
// has to end when its input does, then lives as long as this process.
func bounded[T any](name string, do func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := do()
		done <- result{value, err}
	}()
	patience := time.NewTimer(PluginTime)
	defer patience.Stop()
	select {
	case r := <-done:
		return r.value, r.err
	case <-patience.C:
		var none T
		return none, fmt.Errorf("age-plugin-%s did not answer within %v", name, PluginTime)
	}
}

// pluginIdentity begins a line of a plugin's identity.
const pluginIdentity = "AGE-PLUGIN-"

// parsePluginIdentity reads the identity of a plugin. Its program is not run.
func parsePluginIdentity(line string) (Identity, error) {
	p, err := plugin.NewIdentity(line, &plugin.ClientUI{})
	if err != nil {
		return Identity{}, errors.New("an identity of a plugin that is mistyped") // age's text may have the secret
	}
	return Identity{plugin: p.Name(), text: line}, nil
}

// Plugin returns the name of the plugin whose program opens what is sealed to the
// identity; "": none is needed.
func (i Identity) Plugin() string { return i.plugin }

// Through returns the identity as its plugin has it, whose program is run when a
// key is to be unwrapped. Kind: KeyManagement.
func (i Identity) Through(ui *UI) (Identity, error) {
	p, err := plugin.NewIdentity(strings.TrimSpace(i.text), ui.client())
	if err != nil {
		return i, errs.New(errs.KeyManagement, "an identity of a plugin that is mistyped")
	}
	i.age = boundedIdentity{p}
	return i, nil
}
