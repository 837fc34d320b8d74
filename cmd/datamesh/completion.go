package main

import (
	"io"
	"strings"

	"github.com/spf13/cobra"

	"datamesh/internal/errs"
)

// shells are those that there is a script for.
var shells = []string{"bash", "zsh", "fish", "powershell"}

func (c *cli) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "print the script by which a shell completes commands, names and peers",
		Long: `Prints a script for bash, zsh, fish or powershell. To load it now and in each
shell to come:

  bash        source <(datamesh completion bash), also in ~/.bashrc; it needs the
              package bash-completion
  zsh         datamesh completion zsh >"${fpath[1]}/_datamesh"
  fish        datamesh completion fish >~/.config/fish/completions/datamesh.fish
  powershell  datamesh completion powershell | Out-String | Invoke-Expression,
              also in $PROFILE`,
		Args: arity(1, 1),
		ValidArgsFunction: positional(func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return shells, cobra.ShellCompDirectiveNoFileComp
		}),
		RunE: func(cmd *cobra.Command, args []string) error {
			return completionScript(cmd.Root(), output{c.out}, args[0])
		},
	}
}

func completionScript(root *cobra.Command, w io.Writer, shell string) error {
	switch shell {
	case "bash":
		return root.GenBashCompletionV2(w, true)
	case "zsh":
		return root.GenZshCompletion(w)
	case "fish":
		return root.GenFishCompletion(w, true)
	case "powershell":
		return root.GenPowerShellCompletionWithDesc(w)
	}
	err := errs.New(errs.Invalid, "there is no completion for %q, but for %s", shell, strings.Join(shells, ", "))
	return errs.WithHint(err, "datamesh completion bash")
}
