package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"datamesh/internal/api"
	"datamesh/internal/errs"
	"datamesh/internal/node"
)

func (c *cli) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "look for what is wrong with this home, its node and its mesh, and say what to do",
		Long: `Looks at the home, its keys and databases, the disk, the port, the members and
the clock, whether the node of the home runs or not. Ends with 9 if anything
has failed.`,
		Args:              arity(0, 0),
		ValidArgsFunction: positional(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := c.diagnose(cmd.Context())
			if err != nil {
				return err
			}
			err = c.print(d, func(w io.Writer) {
				for _, check := range d.Checks {
					row(w, check.Status, check.Name, check.Detail)
					if check.Advice != "" {
						row(w, "", "", "hint: "+check.Advice)
					}
				}
			})
			if err != nil {
				return err
			}
			return c.diagnosisVerdict(d)
		},
	}
}

// diagnose has the home checked here, and the rest by the node that runs, or
// else by a client.
func (c *cli) diagnose(ctx context.Context) (*node.Diagnosis, error) {
	o, err := c.options(node.Client, nil)
	if err != nil {
		return nil, err
	}
	o.Log = slog.New(slog.DiscardHandler)
	d := &node.Diagnosis{Checks: node.CheckHome(ctx, o.Home, o.User, o.Config.Store)}
	if first := d.Checks[0]; len(d.Checks) == 1 {
		return d, ctx.Err() // there is nothing to look at, as that one says
	} else if first.Status == node.CheckFailed {
		return d, nil
	}
	rest, err := c.askDoctor(ctx, o)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		d.Checks = append(d.Checks, node.Check{Name: "members", Status: node.CheckFailed, Detail: err.Error(), Advice: errs.HintFor(err)})
		return d, nil
	}
	d.Checks = append(d.Checks, rest.Checks...)
	return d, nil
}

func (c *cli) askDoctor(ctx context.Context, o node.Options) (*node.Diagnosis, error) {
	client, err := api.Dial(ctx, o.Home.Socket())
	if err == nil {
		defer client.Close()
		return client.Doctor(ctx)
	}
	if !errors.Is(err, errs.NoNode) {
		return nil, err
	}
	return node.Examine(ctx, o)
}

// diagnosisVerdict is the error that a check has failed. Kind: Degraded.
func (c *cli) diagnosisVerdict(d *node.Diagnosis) error {
	var bad []string
	for _, check := range d.Checks {
		if check.Status == node.CheckFailed {
			bad = append(bad, check.Name)
		}
	}
	if len(bad) == 0 {
		c.next("%s", afterDoctor(d))
		return nil
	}
	return errs.WithHint(errs.New(errs.Degraded, "doctor: %d of %d checks have failed: %s", len(bad), len(d.Checks), strings.Join(bad, ", ")),
		"do what stands beside them, then type datamesh doctor again")
}

// afterDoctor returns what to type when nothing has failed.
func afterDoctor(d *node.Diagnosis) string {
	for _, check := range d.Checks {
		if check.Name == "members" && check.Status != node.CheckSkipped {
			return "discover"
		}
	}
	return "bootstrap"
}
