package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"datamesh/internal/format"
)

// version is the program's, which a release sets by -ldflags "-X main.version=…".
var version = "0.1.0-dev"

// protocol is the version of the protocols, which is in their names too.
const protocol = 1

// versions is the document of version --json.
type versions struct {
	Version  string `json:"version"`
	Commit   string `json:"commit"` // "" when the build did not record it
	Format   int    `json:"format"`
	Protocol int    `json:"protocol"`
	Go       string `json:"go"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`
}

func (c *cli) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "version",
		Short:             "print the versions of the program, its formats and its protocols",
		Args:              arity(0, 0),
		ValidArgsFunction: positional(),
		RunE: func(*cobra.Command, []string) error {
			build, _ := debug.ReadBuildInfo()
			v := versions{version, commitOf(build), format.Version, protocol, runtime.Version(), runtime.GOOS, runtime.GOARCH}
			return c.print(v, func(w io.Writer) {
				commit := ""
				if v.Commit != "" {
					commit = "commit " + v.Commit + ", "
				}
				fmt.Fprintf(w, "datamesh %s (%sformat %d, protocol %d, %s, %s/%s)\n", v.Version, commit, v.Format, v.Protocol, v.Go, v.OS, v.Arch)
			})
		},
	}
}

// commitOf returns the commit that the program was built from, with "-dirty"
// if there were changes beside it, or "" if the build did not record it.
func commitOf(build *debug.BuildInfo) string {
	if build == nil {
		return ""
	}
	settings := map[string]string{}
	for _, s := range build.Settings {
		settings[s.Key] = s.Value
	}
	commit := settings["vcs.revision"]
	if commit != "" && settings["vcs.modified"] == "true" {
		commit += "-dirty"
	}
	return commit
}
