package config

// An EnvVariable is an environment variable that the program reads.
type EnvVariable struct {
	Name    string
	Accepts string // what it may be, for people
}

// Variables returns all of them, that of the home first.
func Variables() []EnvVariable {
	all := []EnvVariable{{homeVariable, "the directory that keeps everything, if --home is not given"}}
	c := Default()
	for _, s := range c.settings() {
		all = append(all, EnvVariable{Variable(s.key), s.accept})
	}
	return all
}
