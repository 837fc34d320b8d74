package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"datamesh"
	"datamesh/internal/api"
	"datamesh/internal/config"
	"datamesh/internal/errs"
	"datamesh/internal/node"
)

// Somebody waits for a completion with a finger on the key: one that has
// nothing to say in time says nothing, and none makes anything in the home.
// The times are variables for tests that share a busy machine.
var (
	completionTime = 300 * time.Millisecond // of one completion in all
	askNodeTime    = 200 * time.Millisecond // of it, for the node to answer
)

const maxCandidates = 1000

// positional completes the first argument by the first of each, and so on.
// There is nothing after the last.
func positional(each ...cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) >= len(each) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return each[len(args)](cmd, args, word)
	}
}

// completeFlags completes the values of a command's own flags. A flag without
// an entry in by is completed by nothing. It does so only in a command line
// that asks: cobra keeps what it is told of flags as long as the process runs.
func (c *cli) completeFlags(cmd *cobra.Command, by map[string]cobra.CompletionFunc) {
	if !c.completing {
		return
	}
	each := func(f *pflag.Flag) {
		complete := by[f.Name]
		if complete == nil {
			complete = cobra.NoFileCompletions
		}
		_, f.Usage = pflag.UnquoteUsage(f) // shells show it as it is
		if err := cmd.RegisterFlagCompletionFunc(f.Name, complete); err != nil {
			panic(fmt.Sprintf("%s --%s: %v", cmd.Name(), f.Name, err))
		}
	}
	cmd.LocalNonPersistentFlags().VisitAll(each)
	cmd.PersistentFlags().VisitAll(each)
}

// completeFiles and completeDirs leave it to the shell.
func completeFiles(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault
}

func completeDirs(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

func completeCodes(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return []cobra.Completion{
		cobra.CompletionWithDesc("4+2", "half as much again; any 2 shards may be lost"),
		cobra.CompletionWithDesc("4+4", "twice as much; any 4"),
		cobra.CompletionWithDesc("10+4", "two fifths more; any 4 of 14"),
	}, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// completeModes completes how to compress.
func completeModes(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return []cobra.Completion{
		cobra.CompletionWithDesc("auto", "what a sample says pays, fast"),
		cobra.CompletionWithDesc("off", "nothing: how much is stored tells nothing of the content"),
		cobra.CompletionWithDesc("max", "what pays, as short as it gets"),
	}, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// completePeers completes PEER from what the home's node knows, or else from
// what the home remembers.
func (c *cli) completePeers(cmd *cobra.Command, _ []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return c.offerPeers(cmd, word, func(p node.Peer) string { return p.PeerID.String() })
}

// completeMembers completes PEER_ID@ADDR.
func (c *cli) completeMembers(cmd *cobra.Command, _ []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return c.offerPeers(cmd, word, func(p node.Peer) string {
		return config.Peer{ID: p.PeerID, Addr: nearestAddr(p.Addrs)}.String()
	})
}

// offerPeers completes what name says of a peer.
func (c *cli) offerPeers(cmd *cobra.Command, word string, name func(node.Peer) string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return inTime(cmd.Context(), func(ctx context.Context, offer func(value, about string) bool) error {
		peers, err := c.knownPeers(ctx)
		if err != nil {
			return err
		}
		for _, p := range peers.Peers {
			if value := name(p); strings.HasPrefix(value, word) && !offer(value, p.State+" "+p.Labels.Host) {
				return nil
			}
		}
		return nil
	})
}

// completeAddrs completes an address of the peer that the line names.
func (c *cli) completeAddrs(cmd *cobra.Command, _ []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return inTime(cmd.Context(), func(ctx context.Context, offer func(value, about string) bool) error {
		id, err := datamesh.ParsePeerID(c.bootstrapPeer)
		if err != nil {
			return err
		}
		peers, err := c.knownPeers(ctx)
		if err != nil {
			return err
		}
		for _, p := range peers.Peers {
			for _, addr := range p.Addrs {
				if p.PeerID == id && strings.HasPrefix(addr, word) && !offer(addr, "") {
					return nil
				}
			}
		}
		return nil
	})
}

// completeTransfers completes the ID of a transfer that was interrupted.
func (c *cli) completeTransfers(cmd *cobra.Command, _ []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return inTime(cmd.Context(), func(ctx context.Context, offer func(value, about string) bool) error {
		list, err := c.knownTransfers(ctx)
		if err != nil {
			return err
		}
		for _, t := range list.Transfers {
			if t.State == node.Interrupted && strings.HasPrefix(t.ID, word) && !offer(t.ID, t.Kind+" of "+t.Name) {
				return nil
			}
		}
		return nil
	})
}

// completeIdentities completes the names of the identities of the home.
func (c *cli) completeIdentities(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return inTime(cmd.Context(), func(_ context.Context, offer func(value, about string) bool) error {
		home, err := config.FindHome(c.homeDir)
		if err != nil {
			return err
		}
		names, err := home.Users()
		for _, name := range names {
			offer(name, "")
		}
		return err
	})
}

func (c *cli) knownTransfers(ctx context.Context) (*node.Transfers, error) {
	home, cfg, err := c.settings()
	if err != nil {
		return nil, err
	}
	asking, cancel := context.WithTimeout(ctx, askNodeTime)
	defer cancel()
	client, err := api.Dial(asking, home.Socket())
	if err == nil {
		defer client.Close()
		return client.Transfers(asking, "")
	}
	user, err := c.userOf(home)
	if err != nil {
		return nil, err
	}
	return node.Resumable(ctx, home, user, cfg.Put.Resume)
}

func (c *cli) knownPeers(ctx context.Context) (*node.Peers, error) {
	home, err := config.FindHome(c.homeDir)
	if err != nil {
		return nil, err
	}
	asking, cancel := context.WithTimeout(ctx, askNodeTime)
	defer cancel()
	client, err := api.Dial(asking, home.Socket())
	if err == nil {
		defer client.Close()
		if peers, err := client.Peers(asking); err == nil {
			return peers, nil
		}
	}
	return node.Remembered(home)
}

// inTime collects what find offers until it returns, has offered enough, or
// the time is over. What find finds wrong is for a command to say.
func inTime(ctx context.Context, find func(ctx context.Context, offer func(value, about string) bool) error) ([]cobra.Completion, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(ctx, completionTime)
	defer cancel()
	offers := make(chan cobra.Completion)
	done := make(chan error, 1)
	go func() { // it may hang in a file system for longer
		done <- find(ctx, func(value, about string) bool {
			if strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsPrint(r) }) {
				return true // nobody can type it
			}
			if about = plain(strings.TrimSpace(about)); about != "" {
				value = cobra.CompletionWithDesc(value, about)
			}
			select {
			case offers <- value:
				return true
			case <-ctx.Done():
				return false
			}
		})
	}()
	var found []cobra.Completion
	for len(found) < maxCandidates {
		select {
		case offer := <-offers:
			found = append(found, offer)
			continue
		case err := <-done:
			if err != nil && !errors.Is(err, errs.FileNotFound) {
				cobra.CompDebugln(err.Error(), false)
			}
		case <-ctx.Done():
		}
		break
	}
	return found, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}
