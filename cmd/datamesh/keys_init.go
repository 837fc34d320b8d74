package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/keyring"
	"datamesh/internal/node"
)

// phraseShown is the document of keys init.
type phraseShown struct {
	Made  bool              `json:"made"`
	Owner datamesh.OwnerKey `json:"owner"`
	Words []string          `json:"words,omitempty"`
	Out   string            `json:"out,omitempty"`
}

func (c *cli) keysInitCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "init",
		Short: "make your identity, and show the 24 words of it to write down",
		Long: `Makes the identity of this home, if it has none, and shows it as 24 words, once.
Write them down, on paper and in their order: they are all of the identity, and
whoever has them can read and delete what you stored. Then type "datamesh keys
verify", which asks for them.`,
		Args:              arity(0, 0),
		ValidArgsFunction: positional(),
	}
	cmd.Flags().StringVar(&file, "phrase-file", "", "write the words to a new `FILE` that only you may read, and do not show them")
	c.completeFlags(cmd, map[string]cobra.CompletionFunc{"phrase-file": completeFiles})
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkPhraseFile(cmd.Flags(), file); err != nil {
			return err
		}
		c.mayMake = true
		o, err := c.options(node.Client, nil)
		if err != nil {
			return err
		}
		_, before := os.Lstat(o.User.Identity())
		id, err := node.LoadIdentity(o.Home, o.User, o.Keys)
		if err != nil {
			return err
		}
		if err := checkNeverShown(o.Keys); err != nil {
			return err
		}
		result := phraseShown{Made: errors.Is(before, fs.ErrNotExist), Owner: id.Owner, Out: file}
		if err := c.showPhrase(o.Keys, result); err != nil {
			return err
		}
		// Only now: whoever did not get them has to get them another time.
		if err := o.Keys.MarkShown(time.Now()); err != nil {
			c.warn("that was not noted in the home, which will show them again: %v", err)
		}
		if file != "" {
			c.next("keys verify --phrase-file %s", quoteWord(file))
			return nil
		}
		if !c.json {
			c.notice("these words are all of your identity %s: write them down, on paper and in their order. Whoever has them can read and delete what you stored. They are not shown again.", id.Owner)
		}
		c.next("keys verify")
		return nil
	}
	return cmd
}

// checkPhraseFile refuses a --phrase-file that names no file. Kind: Invalid.
func checkPhraseFile(flags *pflag.FlagSet, file string) error {
	if flags.Changed("phrase-file") && (file == "" || file == "-") {
		return errs.WithHint(errs.New(errs.Invalid, "--phrase-file: %q is no file", file), "name one, or leave --phrase-file out")
	}
	return nil
}

// checkNeverShown refuses to show words again. Kind: Exists.
func checkNeverShown(keys *keyring.File) error {
	for _, mark := range []struct {
		what string
		last func() (time.Time, error)
	}{{"verified", keys.Verified}, {"shown", keys.Shown}} {
		at, err := mark.last()
		if err != nil {
			return err
		}
		if !at.IsZero() {
			return errs.WithHint(errs.New(errs.Exists, "the words of this home's identity were %s already, on %s", mark.what, at.Local().Format("2006-01-02")),
				`they are shown once; "datamesh keys export FILE" copies the identity itself`)
		}
	}
	return nil
}

// showPhrase prints the words of the home's identity, or writes them to a file
// and prints where.
func (c *cli) showPhrase(keys *keyring.File, result phraseShown) error {
	if result.Out != "" {
		if err := keys.WriteWords(result.Out); err != nil {
			return err
		}
		return c.print(result, func(w io.Writer) {
			fmt.Fprintf(w, "the words of your identity are in %s: keep it where nobody else can read it\n", plain(result.Out))
		})
	}
	phrase, err := keys.Words()
	if err != nil {
		return err
	}
	result.Words = phrase[:]
	const columns = 4
	return c.print(result, func(w io.Writer) {
		for i := 0; i < len(phrase); i += columns { // in their order when they are read line by line
			var cells []any
			for j, word := range phrase[i : i+columns] {
				cells = append(cells, fmt.Sprintf("%2d. %s", i+j+1, word))
			}
			row(w, cells...)
		}
	})
}
