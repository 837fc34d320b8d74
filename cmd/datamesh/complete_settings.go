package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"datamesh/internal/config"
)

// completeKeys completes KEY, the name of a setting.
func completeKeys(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var keys []cobra.Completion
	for _, s := range config.Default().Settings() {
		keys = append(keys, cobra.CompletionWithDesc(s.Key, config.About(s.Key)))
	}
	return keys, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// completeValues completes VALUE, of the setting that stands before it.
func (c *cli) completeValues(cmd *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var values []cobra.Completion
	switch args[0] {
	case "mesh.bootstrap":
		return c.completeNetworks(cmd, args, word)
	case "put.code":
		return completeCodes(cmd, args, word)
	case "put.compress":
		return completeModes(cmd, args, word)
	case "mesh.mdns":
		values = []cobra.Completion{"true", "false"}
	case "log.level":
		values = []cobra.Completion{"debug", "info", "warn", "error"}
	case "log.format":
		values = []cobra.Completion{"text", "json"}
	}
	return values, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// completeNetworks completes NAME, of a network.
func (c *cli) completeNetworks(cmd *cobra.Command, _ []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return inTime(cmd.Context(), func(_ context.Context, offer func(value, about string) bool) error {
		_, cfg, err := c.settings()
		if err != nil {
			return err
		}
		if cmd.Name() != "remove" && strings.HasPrefix(config.Local, word) { // it is built in
			offer(config.Local, "whoever listens on this machine")
		}
		for _, n := range cfg.Networks {
			if strings.HasPrefix(n.Name, word) && !offer(n.Name, count(len(n.Peers), "peer")) {
				return nil
			}
		}
		return nil
	})
}
