package format

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// A node is a CBOR item taken apart, so that it can be put together again in
// ways that a proper encoder has not.
type node struct {
	major byte
	value uint64
	text  []byte  // of byte and text strings
	items []*node // of arrays; of maps keys and values in turn
	raw   []byte  // if set, what stands here instead
	wide  bool    // its head is longer than need be
	loose bool    // of indefinite length
}

func parse(b []byte) (*node, []byte) {
	h := readHead(b)
	n := &node{major: h.major, value: h.value}
	b = b[h.size:]
	children := h.value
	switch h.major {
	case majorBytes, majorText:
		n.text, b = b[:h.value], b[h.value:]
		return n, b
	case majorMap:
		children *= 2
	case majorArray:
	default:
		return n, b
	}
	for range children {
		var item *node
		item, b = parse(b)
		n.items = append(n.items, item)
	}
	return n, b
}

func (n *node) encode(out []byte) []byte {
	if n.raw != nil {
		return append(out, n.raw...)
	}
	value := n.value
	switch n.major {
	case majorBytes, majorText:
		value = uint64(len(n.text))
	case majorArray:
		value = uint64(len(n.items))
	case majorMap:
		value = uint64(len(n.items) / 2)
	}
	switch {
	case n.loose:
		out = append(out, n.major<<5|31)
		if n.major == majorBytes || n.major == majorText {
			out = append((&node{major: n.major, text: n.text}).encode(out), 0xff)
			return out
		}
	case n.wide:
		out = binary.BigEndian.AppendUint64(append(out, n.major<<5|27), value)
	default:
		out = appendHead(out, n.major, value)
	}
	out = append(out, n.text...)
	for _, item := range n.items {
		out = item.encode(out)
	}
	if n.loose {
		out = append(out, 0xff)
	}
	return out
}

func appendHead(out []byte, major byte, value uint64) []byte {
	switch headSize(value) {
	case 1:
		return append(out, major<<5|byte(value))
	case 2:
		return append(out, major<<5|24, byte(value))
	case 3:
		return binary.BigEndian.AppendUint16(append(out, major<<5|25), uint16(value))
	case 5:
		return binary.BigEndian.AppendUint32(append(out, major<<5|26), uint32(value))
	}
	return binary.BigEndian.AppendUint64(append(out, major<<5|27), value)
}

func key(n uint64) *node { return &node{major: majorUint, value: n} }

// mutations returns encodings that are no canonical form of what good is, or
// not of anything, by what is wrong with them and where.
func mutations(good []byte) map[string][]byte {
	root, rest := parse(good)
	if len(rest) > 0 || !bytes.Equal(root.encode(nil), good) {
		panic("the good one is not canonical")
	}
	all := map[string][]byte{}
	var visit func(n *node, path string)
	visit = func(n *node, path string) {
		saved := *n
		try := func(what string, change func()) {
			change()
			if b := root.encode(nil); !bytes.Equal(b, good) { // some heads are long already
				all[fmt.Sprintf("%s: %s", path, what)] = b
			}
			*n = saved
		}
		try("a longer head", func() { n.wide = true })
		try("null", func() { n.raw = []byte{0xf6} })
		try("undefined", func() { n.raw = []byte{0xf7} })
		try("a tag", func() { n.raw = append([]byte{0xc1}, saved.encode(nil)...) })
		try("a big number", func() { n.raw = []byte{0xc2, 0x41, 1} })
		try("a float", func() { n.raw = []byte{0xf9, 0x3c, 0} })
		try("a negative number", func() { n.raw = []byte{0x20} })
		try("nothing", func() { n.raw = []byte{} })
		switch n.major {
		case majorUint:
			try("2^64-1", func() { n.value = 1<<64 - 1 })
		case majorBytes, majorText:
			try("of indefinite length", func() { n.loose = true })
			try("the other kind of string", func() { n.major ^= majorBytes ^ majorText })
			try("an array of numbers", func() {
				*n = node{major: majorArray}
				for _, b := range saved.text {
					n.items = append(n.items, key(uint64(b)))
				}
			})
		case majorArray:
			try("of indefinite length", func() { n.loose = true })
			try("deep", func() { n.raw = append(bytes.Repeat([]byte{0x81}, 100), 0x80) })
		case majorMap:
			try("of indefinite length", func() { n.loose = true })
			try("in an array", func() { n.raw = append([]byte{0x81}, saved.encode(nil)...) })
			try("an unknown field", func() { n.items = append(append([]*node{}, saved.items...), key(63), key(0)) })
			try("the first unknown field", func() { n.items = append(append([]*node{}, key(0), key(0)), saved.items...) })
			try("a negative key", func() { n.items = append(append([]*node{}, saved.items...), &node{major: 1}, key(0)) })
			try("a text key", func() {
				n.items = append(append([]*node{}, saved.items...), &node{major: majorText, text: []byte("1")}, key(0))
			})
			try("a pair twice", func() { n.items = append(append([]*node{}, saved.items[:2]...), saved.items...) })
			if len(n.items) >= 4 {
				try("pairs exchanged", func() {
					n.items = append(append(append([]*node{}, saved.items[2:4]...), saved.items[:2]...), saved.items[4:]...)
				})
			}
		}
		for i, item := range n.items {
			if n.major != majorMap {
				visit(item, fmt.Sprintf("%s[%d]", path, i))
			} else if i%2 == 1 {
				visit(item, fmt.Sprintf("%s.%d", path, n.items[i-1].value))
			} else {
				visit(item, fmt.Sprintf("%s.%d(key)", path, item.value))
			}
		}
	}
	visit(root, "")
	all["a byte behind it"] = append(bytes.Clone(good), 0)
	all["twice"] = append(bytes.Clone(good), good...)
	return all
}

// with returns good with a field of its outermost map set, or taken out when
// value is nil.
func with(good []byte, field uint64, value []byte) []byte {
	root, _ := parse(good)
	var items []*node
	done := value == nil
	for i := 0; i < len(root.items); i += 2 {
		k := root.items[i].value
		if !done && k >= field {
			items, done = append(items, key(field), &node{raw: value}), true
		}
		if k != field {
			items = append(items, root.items[i], root.items[i+1])
		}
	}
	if !done {
		items = append(items, key(field), &node{raw: value})
	}
	root.items = items
	return root.encode(nil)
}
