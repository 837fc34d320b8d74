package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
)

// complete returns how the word at a position of a line, in characters, can go
// on, and what stands before and after it. It is what a shell would offer.
func (con *console) complete(line string, pos int) (head string, list []string, tail string) {
	runes := []rune(line)
	left, tail := string(runes[:pos]), string(runes[pos:])
	t := parseLine(left)
	for _, candidate := range con.candidates(t.words, t.last) {
		if !strings.ContainsFunc(candidate, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
			list = append(list, quoteWord(candidate))
		}
	}
	if len(list) == 1 && !strings.HasSuffix(list[0], "/") && !strings.HasPrefix(tail, " ") {
		list[0] += " "
	}
	return left[:t.start], list, tail
}

// candidates asks the command table what may follow the words.
func (con *console) candidates(words []string, last string) []string {
	if len(words) > 0 && words[0] == programName {
		words = words[1:]
	}
	var out bytes.Buffer
	c := con.line()
	c.out, c.err, c.completing = &out, io.Discard, true
	root := c.root()
	root.SetArgs(slices.Concat([]string{cobra.ShellCompNoDescRequestCmd}, con.globals, words, []string{last}))
	if root.ExecuteContext(context.Background()) != nil {
		return nil
	}
	list := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	n, err := strconv.Atoi(strings.TrimPrefix(list[len(list)-1], ":"))
	if err != nil {
		return nil
	}
	list = list[:len(list)-1]
	if len(words) == 0 {
		list = append(list, leaving...)
	}
	flag, value, isFlag := strings.Cut(last, "=")
	if isFlag = isFlag && strings.HasPrefix(flag, "-"); isFlag {
		last = value
	}
	switch directive := cobra.ShellCompDirective(n); {
	case directive&cobra.ShellCompDirectiveError != 0:
	case directive&cobra.ShellCompDirectiveFilterDirs != 0:
		list = filesLike(last, true)
	case directive&cobra.ShellCompDirectiveNoFileComp == 0 && len(list) == 0:
		list = filesLike(last, false)
	}
	list = matching(list, last)
	if isFlag {
		for i := range list {
			list[i] = flag + "=" + list[i]
		}
	}
	return list
}

func matching(list []string, prefix string) (found []string) {
	for _, s := range list {
		if strings.HasPrefix(s, prefix) {
			found = append(found, s)
		}
	}
	return found
}

// filesLike returns the files that begin with a path, a slash behind directories.
func filesLike(begun string, directories bool) (found []string) {
	dir, base := filepath.Split(begun)
	entries, err := os.ReadDir(filepath.Clean(dir)) // of "" that is "."
	if err != nil {
		return nil
	}
	for _, entry := range entries {
		name := entry.Name()
		if !strings.HasPrefix(name, base) || base == "" && strings.HasPrefix(name, ".") {
			continue
		}
		fi, err := os.Stat(filepath.Join(dir, name)) // of what a link leads to
		switch {
		case err == nil && fi.IsDir():
			found = append(found, dir+name+"/")
		case !directories:
			found = append(found, dir+name)
		}
	}
	return found
}
