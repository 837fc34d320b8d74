package transfer

import (
	"bytes"
	"context"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
)

// A Word says of which generation an owner's last word on a segment is, as far
// as a peer knows: 0 if it knows of none.
type Word struct {
	_          struct{} `cbor:",toarray"`
	Segment    datamesh.SegmentID
	Generation uint64
}

// MaxWords is how many words [Words] has at most.
const MaxWords = maxKeys

// Words are what a peer knows of owners' words, in the order of their segments.
type Words struct {
	List []Word

	// Between says that the list has all words on segments of which both peers
	// are registrars, from First to Last.
	Between     bool
	First, Last datamesh.SegmentID
}

// NewWord returns what there is to say of a word.
func NewWord(del *datamesh.Deletion) Word {
	return Word{Segment: del.Descriptor.Segment, Generation: del.Generation}
}

// Words compares owners' words with those that a peer knows. It returns the
// segments on which the peer has none, or an older one than was said, and the
// words that it has and are newer: on the segments of the list, and, if the list
// has all between two, on others there. Then there may be more than are returned,
// but of a list alone these are all. Kinds: Network, Unavailable, Invalid,
// Serialization, Authentication (a word that the owner did not sign).
func (c *Client) Words(ctx context.Context, peer datamesh.PeerID, w Words) (wanted []datamesh.SegmentID, newer []*datamesh.Deletion, err error) {
	for {
		some, more, full, err := c.someWords(ctx, peer, w)
		if err != nil {
			return nil, nil, err
		}
		wanted, newer = append(wanted, some...), append(newer, more...)
		if w.List = unanswered(w.List, some, more); w.Between || !full || len(w.List) == 0 {
			return wanted, newer, nil
		}
	}
}

// unanswered returns those of a list that neither are wanted nor have a newer
// word: that may not have had room in the answer.
func unanswered(list []Word, wanted []datamesh.SegmentID, newer []*datamesh.Deletion) (rest []Word) {
	answered := map[datamesh.SegmentID]bool{}
	for _, segment := range wanted {
		answered[segment] = true
	}
	for _, del := range newer {
		answered[del.Descriptor.Segment] = true
	}
	for _, x := range list {
		if !answered[x.Segment] {
			rest = append(rest, x)
		}
	}
	return rest
}

// someWords is as Words, with as many of the newer words as one answer has room
// for; full is an answer that may have had no room for all. One with fewer is
// none, so that a peer does not have itself asked for each word.
func (c *Client) someWords(ctx context.Context, peer datamesh.PeerID, w Words) (wanted []datamesh.SegmentID, newer []*datamesh.Deletion, full bool, err error) {
	req := request{Op: opWords, Words: w.List}
	if w.Between {
		req.Range = []key{{Segment: w.First}, {Segment: w.Last}}
	}
	resp, _, err := c.call(ctx, peer, req, exchange{silence: inventorySilence})
	if err != nil {
		return nil, nil, false, err
	}
	said := make(map[datamesh.SegmentID]uint64, len(w.List))
	for _, x := range w.List {
		said[x.Segment] = x.Generation
	}
	answered := map[datamesh.SegmentID]bool{}
	for _, segment := range resp.Unknown {
		if said[segment] == 0 || answered[segment] {
			return nil, nil, false, errs.New(errs.Serialization, "words: one on %s is wanted, of which nothing was said", segment)
		}
		answered[segment] = true
	}
	size := 40 * len(resp.Unknown)
	for _, b := range resp.Deleted {
		size += len(b)
		del, err := format.DecodeDeletion(b)
		if err != nil {
			return nil, nil, false, err
		}
		segment := del.Descriptor.Segment
		if generation, listed := said[segment]; answered[segment] || del.Generation <= generation || !listed && !w.holds(segment) {
			return nil, nil, false, errs.New(errs.Serialization, "words: one on %s, which was not asked for", segment)
		}
		answered[segment] = true
		newer = append(newer, del)
	}
	return resp.Unknown, newer, size > maxHeader/2, nil
}

// holds reports whether a segment is between the two that all words are between.
func (w *Words) holds(segment datamesh.SegmentID) bool {
	return w.Between && bytes.Compare(segment[:], w.First[:]) >= 0 && bytes.Compare(segment[:], w.Last[:]) <= 0
}

// words answers what Words asks, with as many words as one answer has room for.
func (s *Server) words(ctx context.Context, from datamesh.PeerID, req *request) (resp response, err error) {
	w := Words{List: req.Words, Between: len(req.Range) == 2}
	if len(w.List) > MaxWords || len(req.Range) > 0 && !w.Between {
		return resp, errs.New(errs.Invalid, "words: %d of them, limit %d, between %d", len(w.List), MaxWords, len(req.Range))
	}
	if w.Between {
		w.First, w.Last = req.Range[0].Segment, req.Range[1].Segment
	}
	for i := 1; i < len(w.List); i++ {
		if bytes.Compare(w.List[i-1].Segment[:], w.List[i].Segment[:]) >= 0 {
			return resp, errs.New(errs.Invalid, "words: %s is not in its place", w.List[i].Segment)
		}
	}
	wanted, newer, err := s.registry.Words(ctx, from, w)
	if err != nil {
		return resp, err
	}
	resp.Unknown = wanted
	resp.Deleted = encodeWords(newer, 40*len(wanted))
	return resp, nil
}

// encodeWords encodes as many words as an answer has room for that has so many
// bytes already.
func encodeWords(words []*datamesh.Deletion, size int) (encoded [][]byte) {
	for _, del := range words {
		b := format.EncodeDeletion(del)
		if size += len(b) + 8; size > maxHeader-4<<10 {
			break
		}
		encoded = append(encoded, b)
	}
	return encoded
}
