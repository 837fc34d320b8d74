package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/keyring"
	"datamesh/internal/node"
)

const (
	drillWords = 6 // that are asked for, of all
	drillTries = 3 // at each
)

// phraseVerified is the document of keys verify.
type phraseVerified struct {
	Owner    datamesh.OwnerKey `json:"owner"`
	Compared int               `json:"compared"`
}

func (c *cli) keysVerifyCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "find out whether the 24 words that you have are those of your identity",
		Long: fmt.Sprintf(`On a terminal it asks for %d of the words, drawn at random, and does not show
what is typed; type all %d at once to have them all compared. Otherwise it reads
them from --phrase-file, or from standard input: in any case, numbered or not,
on one line or many, each by its first four letters if you like.

It says whether they are mistyped, or the words of another identity.`, drillWords, keyring.PhraseWords),
		Args:              arity(0, 0),
		ValidArgsFunction: positional(),
	}
	cmd.Flags().StringVar(&file, "phrase-file", "", "read the words from `FILE`")
	c.completeFlags(cmd, map[string]cobra.CompletionFunc{"phrase-file": completeFiles})
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkPhraseFile(cmd.Flags(), file); err != nil {
			return err
		}
		o, err := c.options(node.Client, nil)
		if err != nil {
			return err
		}
		var result phraseVerified
		if result.Compared, err = c.verifyPhrase(cmd.Context(), o.Keys, file); err != nil {
			return err
		}
		if result.Owner, err = o.Keys.OwnerKey(); err != nil {
			return err
		}
		if err := o.Keys.MarkVerified(time.Now()); err != nil {
			c.warn("that was not noted in the home: %v", err) // doctor will say that it never happened
		}
		return c.print(result, func(w io.Writer) {
			if result.Compared < keyring.PhraseWords {
				fmt.Fprintf(w, "these %d are words of your identity %s\n", result.Compared, result.Owner)
			} else {
				fmt.Fprintf(w, "these are the words of your identity %s\n", result.Owner)
			}
		})
	}
	return cmd
}

// verifyPhrase compares words from a file, standard input or whoever sits at
// the terminal with those of the home, and returns how many were compared.
func (c *cli) verifyPhrase(ctx context.Context, keys *keyring.File, file string) (compared int, err error) {
	phrase, err := keys.Words()
	if err != nil {
		return 0, err
	}
	in, ended, err := c.phraseSource(file, "keys verify")
	if err != nil {
		return 0, err
	}
	defer ended()
	if isTerminal(in) {
		return c.drill(ctx, keys, phrase)
	}
	text, err := readPhrase(ctx, in)
	if err != nil {
		return 0, err
	}
	return keyring.PhraseWords, keys.CheckWords(text)
}

// phraseSource returns where words come from: a file, standard input or a
// terminal. Kinds: FileNotFound, Invalid (nobody can be asked), IO.
func (c *cli) phraseSource(file, command string) (in io.Reader, ended func(), err error) {
	switch {
	case file != "":
		f, err := os.Open(file)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil, errs.WithHint(errs.New(errs.FileNotFound, "%s does not exist", file), "check the path")
		}
		if err != nil {
			return nil, nil, errs.New(errs.IO, "%w", err)
		}
		return struct{ io.Reader }{f}, func() { f.Close() }, nil // a terminal, too, is read to its end
	case c.inConsole:
		return nil, nil, errs.WithHint(errs.New(errs.Invalid, "standard input is what the console reads its lines from"),
			"give --phrase-file FILE, or leave with exit and type datamesh %s in a shell", command)
	case isTerminal(c.in) && c.json:
		return nil, nil, errs.WithHint(errs.New(errs.Invalid, "with --json nobody is asked for words"), "give --phrase-file FILE")
	}
	return c.in, func() {}, nil
}

// readPhrase reads the text of words to its end. Kind: IO.
func readPhrase(ctx context.Context, in io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(cancellable(ctx, in), keyring.MaxPhrase+1))
	if err != nil {
		return "", errs.New(errs.IO, "read the words: %w", err)
	}
	return string(text), nil
}

// drill asks for words of the phrase, until all that were drawn were right, or
// for all of them if they are typed at once.
func (c *cli) drill(ctx context.Context, keys *keyring.File, phrase keyring.Phrase) (compared int, err error) {
	if !c.quiet {
		fmt.Fprintf(c.err, "what you type is not shown; all %d words at once will do, too\n", len(phrase))
	}
	drawn := rand.Perm(len(phrase))[:drillWords]
	slices.Sort(drawn)
	for _, i := range drawn {
		for try := 1; ; try++ {
			line, err := c.askHidden(ctx, fmt.Sprintf("word %d of %d: ", i+1, len(phrase)))
			if err != nil {
				return 0, err
			}
			if len(strings.Fields(line)) > 2 { // one may have its number before it
				return len(phrase), keys.CheckWords(line)
			}
			word, err := keyring.ParseWord(line)
			if err == nil && word == phrase[i] {
				break
			}
			if err == nil {
				err = errs.WithHint(errs.New(errs.KeyManagement, "word %d of this home's identity is another", i+1),
					"look at the number; all %d words at once show whether they are of another identity", len(phrase))
			}
			if try == drillTries {
				return 0, err
			}
			fmt.Fprintf(c.err, "%s; %s\n", err, errs.HintFor(err))
		}
	}
	return drillWords, nil
}

// askHidden reads a line from the terminal, which does not show it. When ctx
// ends it returns at once; nothing can be read after that. Kind: IO.
func (c *cli) askHidden(ctx context.Context, prompt string) (string, error) {
	fd := int(c.in.(*os.File).Fd())
	state, err := term.GetState(fd)
	if err != nil {
		return "", errs.New(errs.IO, "terminal: %w", err)
	}
	type answer struct {
		line []byte
		err  error
	}
	done := make(chan answer, 1)
	go func() { // it cannot be ended, and goes on until the process ends
		line, err := term.ReadPassword(fd)
		done <- answer{line, err}
	}()
	fmt.Fprint(c.err, prompt)
	defer fmt.Fprintln(c.err) // the end of the line is not shown either
	select {
	case a := <-done:
		if a.err != nil {
			return "", errs.New(errs.IO, "terminal: %w", a.err)
		}
		return string(a.line), nil
	case <-ctx.Done():
		term.Restore(fd, state) // if the terminal is gone there is nothing to restore
		return "", ctx.Err()
	}
}
