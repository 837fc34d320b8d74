//go:build race

package repair

func init() { seeds = 1 }
