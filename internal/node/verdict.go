package node

import (
	"fmt"
	"strconv"

	"datamesh"
)

// judge says in one sentence what is known, and whether that is worse than it
// could be. Alone is a node without a mesh.
func (h *Health) judge(quick, alone bool) {
	v := verdict{n: len(h.Objects), least: datamesh.MaxShards, down: h.Members.Dead + h.Silent}
	v.members = h.Members.Alive + h.Members.Suspect + h.Members.Dead
	if quick {
		v.n = int(h.Catalog.Objects)
	}
	for _, o := range h.Objects {
		v.least = min(v.least, o.Survives)
		switch {
		case o.Survives < 0:
			v.unreadable++
		case o.Weak():
			v.weak++
			v.lost += o.Lost
			v.short = v.short || o.Survives < o.Possible || o.Lost == 0
		}
	}
	h.Degraded = v.unreadable > 0 || v.weak > 0 || quick && v.n > 0 && v.down > 0
	h.Verdict = v.sentence(quick, alone)
}

// A verdict counts what a sentence is made of.
type verdict struct {
	n          int // objects
	unreadable int
	weak       int  // of those that can be read
	lost       int  // shards of the weak
	short      bool // whether any of the weak survives less than it could
	least      int  // losses that all survive
	members    int
	down       int // of them
}

func (v verdict) sentence(quick, alone bool) string {
	switch {
	case v.n == 0 && alone:
		return "no objects yet; this home has no mesh"
	case v.n == 0:
		return "no objects yet; " + v.answer()
	case quick && alone:
		return fmt.Sprintf("%s on this machine alone, not asked about; this home has no mesh", number(v.n, "object"))
	case quick:
		return fmt.Sprintf("%s; %s not asked about", v.answer(), number(v.n, "object"))
	case v.unreadable > 0:
		return v.part(v.unreadable, "cannot be read now", "cannot be read now") + v.cause()
	case v.weak > 0 && !v.short:
		return v.part(v.weak, "has lost shards", "have lost shards") + v.cause()
	case v.weak > 0:
		return v.part(v.weak, "survives fewer losses than it could", "survive fewer losses than they could") + v.cause()
	case alone:
		return v.all() + v.verb(" is", " are") + " on this machine alone and" + v.verb(" survives", " survive") + " no loss"
	case v.least == 0:
		return v.all() + " can be read, and can lose no peer" + v.others()
	}
	return fmt.Sprintf("%s can lose any %s%s", v.all(), number(v.least, "more peer"), v.others())
}

// answer says how many of the members are there.
func (v verdict) answer() string {
	verb := "answer"
	if v.members == 1 {
		verb = "answers"
	}
	return fmt.Sprintf("%s of %s %s", thousands(v.members-v.down), number(v.members, "member"), verb)
}

// others says how many of the members are there, if not all are.
func (v verdict) others() string {
	if v.down == 0 {
		return ""
	}
	return "; " + v.answer()
}

// cause says what most likely is the matter with those that are not well.
func (v verdict) cause() string {
	switch {
	case v.down == 1:
		return ": 1 of " + number(v.members, "member") + " does not answer"
	case v.down > 1:
		return ": " + thousands(v.down) + " of " + number(v.members, "member") + " do not answer"
	case v.unreadable > 0:
		return ""
	case v.lost > 0:
		return ": peers that answer do not have the shards that they should"
	}
	return ": their shards are not spread over all " + number(v.members, "member")
}

func (v verdict) all() string {
	if v.n == 1 {
		return "the one object"
	}
	return "all " + number(v.n, "object")
}

// verb returns the form that fits the number of objects.
func (v verdict) verb(singular, plural string) string {
	if v.n == 1 {
		return singular
	}
	return plural
}

// part says what is so of n of the objects.
func (v verdict) part(n int, singular, plural string) string {
	if n == 1 {
		plural = singular
	}
	return fmt.Sprintf("%s of %s %s", thousands(n), number(v.n, "object"), plural)
}

// number returns "1 peer" or "1,204 peers".
func number(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return thousands(n) + " " + what
}

// thousands writes n as people read it: 1,204.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
