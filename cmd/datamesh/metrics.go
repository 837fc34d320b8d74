package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"datamesh/internal/api"
	"datamesh/internal/errs"
	"datamesh/internal/metrics"
)

func (c *cli) metricsCommand() *cobra.Command {
	var seconds uint32
	cmd := &cobra.Command{
		Use:   "metrics [--watch [SECONDS]]",
		Short: "print the counters of the running node, as Prometheus reads them",
		Long: `Prints the counters of the node that runs in this home since its start, in the
text format of Prometheus. With --watch it looks again and again, and prints
what has changed, until it is interrupted, which is no error.`,
		ValidArgsFunction: positional(),
	}
	cmd.Flags().Uint32Var(&seconds, "watch", 0, "print what changes, every `SECONDS`")
	cmd.Flags().Lookup("watch").NoOptDefVal = "2"
	c.completeFlags(cmd, nil)
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed("watch") {
			return arity(0, 1)(cmd, args)
		}
		return arity(0, 0)(cmd, args)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		watch := cmd.Flags().Changed("watch")
		if len(args) > 0 { // --watch 5, which for flags with a default is no value
			n, err := strconv.ParseUint(args[0], 10, 32)
			if err != nil {
				return errs.WithHint(errs.New(errs.Invalid, "--watch: %q is no number of seconds", args[0]), "datamesh metrics --watch 5")
			}
			seconds = uint32(n)
		}
		if watch && seconds == 0 {
			return errs.WithHint(errs.New(errs.Invalid, "--watch: it takes at least a second"), "datamesh metrics --watch 5")
		}
		return c.withService(cmd.Context(), func(ops api.Operations) error {
			if watch {
				return c.watchMetrics(cmd.Context(), ops, time.Duration(seconds)*time.Second)
			}
			return c.printMetrics(cmd.Context(), ops)
		})
	}
	return cmd
}

func (c *cli) printMetrics(ctx context.Context, ops api.Operations) error {
	m, err := ops.Metrics(ctx)
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	if c.json {
		return writeJSON(c.out, m)
	}
	return outputError(metrics.WriteText(c.out, m.Metrics))
}
