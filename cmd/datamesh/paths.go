package main

import (
	"io"

	"github.com/spf13/cobra"

	"datamesh/internal/config"
)

func (c *cli) pathsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "paths",
		Short: "say where everything lies",
		Args:  arity(0, 0),

		ValidArgsFunction: positional(),
		RunE: func(*cobra.Command, []string) error {
			home, err := config.FindHome(c.homeDir)
			if err != nil {
				return err
			}
			user, err := c.userOf(home)
			if err != nil {
				return err
			}
			p := pathsOf(home, user)
			return c.print(p, func(w io.Writer) {
				row(w, "home", p.Home)
				row(w, "config", p.Config)
				row(w, "identity", p.Identity)
				row(w, "node key", p.NodeKey)
				row(w, "mesh", p.Mesh)
				row(w, "catalog", p.Catalog)
				row(w, "store", p.Store)
				row(w, "puts", p.Puts)
				row(w, "gets", p.Gets)
				row(w, "backups", p.Backups)
				row(w, "history", p.History)
				row(w, "socket", p.Socket)
			})
		},
	}
}

// paths is the document of paths. What it names need not be there.
type paths struct {
	Home     string `json:"home"`
	Config   string `json:"config"`
	Identity string `json:"identity"`
	NodeKey  string `json:"node_key"`
	Mesh     string `json:"mesh"`
	Catalog  string `json:"catalog"`
	Store    string `json:"store"`
	Puts     string `json:"puts"`
	Gets     string `json:"gets"`
	Backups  string `json:"backups"`
	History  string `json:"history"`
	Socket   string `json:"socket"`
}

func pathsOf(h config.Home, u config.User) paths {
	return paths{Home: string(h), Config: h.Config(), Identity: u.Identity(), NodeKey: h.NodeKey(), Mesh: h.Mesh(),
		Catalog: u.Catalog(), Store: h.Store(), Puts: u.Puts(), Gets: h.Gets(), Backups: u.Backups(), History: h.History(), Socket: h.Socket()}
}
