//go:build !linux

package main

import "github.com/spf13/cobra"

// serviceVerbs need systemd, which only Linux has.
func (c *cli) serviceVerbs() []*cobra.Command { return nil }
