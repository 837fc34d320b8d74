package main

import (
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"

	"datamesh/internal/format"
)

// version is the program's, which a release sets by -ldflags "-X main.version=…".
var version = "0.1.0-dev"

// protocol is the version of the protocols, which is in their names too.
const protocol = 1

func (c *cli) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "print the versions of the program, its formats and its protocols",
		Args:  arity(0, 0),
		RunE: func(*cobra.Command, []string) error {
			v := struct {
				Version  string `json:"version"`
				Format   int    `json:"format"`
				Protocol int    `json:"protocol"`
				Go       string `json:"go"`
				OS       string `json:"os"`
				Arch     string `json:"arch"`
			}{version, format.Version, protocol, runtime.Version(), runtime.GOOS, runtime.GOARCH}
			return c.print(v, func(w io.Writer) {
				fmt.Fprintf(w, "datamesh %s (format %d, protocol %d, %s, %s/%s)\n", v.Version, v.Format, v.Protocol, v.Go, v.OS, v.Arch)
			})
		},
	}
}
