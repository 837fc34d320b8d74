package transfer

import (
	"bytes"
	"context"
	"iter"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/store"
)

// MaxRecordKeys is how many keys a [RecordList] has at most.
const MaxRecordKeys = 2048

// A RecordList says which records a peer keeps, in the order of their keys.
type RecordList struct {
	Keys []datamesh.RecordKey

	// Between says that these are all records greater than After, and not greater
	// than Upto, of owners whose records both peers keep.
	Between     bool
	After, Upto datamesh.RecordKey
}

// holds reports whether a key is between the two that all are between.
func (l *RecordList) holds(k datamesh.RecordKey) bool {
	return l.Between && k.Compare(l.After) > 0 && k.Compare(l.Upto) <= 0
}

// PutRecord gives a record to a peer, which keeps it. Kinds: Exists (it is kept,
// as is another of its number, or it is superseded), Full, Network, Unavailable, Authentication.
func (c *Client) PutRecord(ctx context.Context, peer datamesh.PeerID, r *datamesh.Record) error {
	_, _, err := c.call(ctx, peer, request{Op: opPutRecord, Record: format.EncodeRecord(r)}, exchange{silence: putSilence})
	return err
}

// Records asks a peer for all records of an owner that it keeps. One that has the
// same as the last time need not send them. They are not to be changed, and signed
// by the owner; whether they are of the mesh is for the caller to check. What is
// none of his is left out. Kinds: Network, Unavailable, Serialization (these are
// more than an owner can have, or break the protocol otherwise); then what came
// before is returned, too.
func (c *Client) Records(ctx context.Context, peer datamesh.PeerID, owner datamesh.OwnerKey) (list []*datamesh.Record, err error) {
	after, size, none := datamesh.RecordKey{Place: format.RecordPlace(owner)}, 0, 0
	at := recordsAt{peer, owner}
	known, isKnown := c.known.get(at)
	for {
		req := request{Op: opRecords, RecordKeys: wireRecordKeys([]datamesh.RecordKey{after})}
		if isKnown && list == nil {
			req.Digest = known.digest[:]
		}
		resp, _, err := c.call(ctx, peer, req, exchange{silence: getSilence})
		if err != nil {
			return list, err
		}
		if req.Digest != nil && len(resp.Has) == 1 && resp.Has[0] {
			return known.list, nil
		}
		more := false
		for _, b := range resp.Records {
			if size += len(b); none > maxNone || len(list) > maxRecords || size > maxRecordBytes {
				return list, errs.New(errs.Serialization, "%d records with %d bytes, and %d that are none: more than are kept of an owner", len(list), size, none)
			}
			r, err := format.DecodeRecord(b)
			if err != nil || r.Owner != owner {
				none++
				continue
			}
			key := format.RecordKey(r)
			if key.Compare(after) <= 0 {
				return list, errs.New(errs.Serialization, "records: they are out of order")
			}
			list, after, more = append(list, r), key, true
		}
		if !more { // or what comes is none of his
			c.known.put(at, list)
			return list, nil
		}
	}
}

// What a client takes of an owner's records from one peer: more than that may
// keep, since some may come and go meanwhile.
const (
	maxRecords     = 2 * store.MaxRecordDevices * store.MaxRecordsOfDevice
	maxRecordBytes = 2 * store.MaxRecordBytes
	maxNone        = 16 // of what is no record of his
)

// records answers what Records asks, with as many as one answer has room for.
func (s *Server) records(ctx context.Context, req *request) (resp response, err error) {
	if len(req.RecordKeys) != 1 {
		return resp, errs.New(errs.Invalid, "records: %d keys", len(req.RecordKeys))
	}
	after := recordKeys(req.RecordKeys)[0]
	if len(req.Digest) > 0 {
		var all []*datamesh.Record
		for r, err := range s.registry.Records(ctx, after) {
			if err != nil {
				return resp, err
			}
			all = append(all, r)
		}
		if digest := digestOf(all); bytes.Equal(digest[:], req.Digest) {
			resp.Has = []bool{true}
			return resp, nil
		}
	}
	resp.Records, err = encodeRecords(s.registry.Records(ctx, after), 0)
	return resp, err
}

// encodeRecords encodes as many records as an answer has room for that has so
// many bytes already.
func encodeRecords(records iter.Seq2[*datamesh.Record, error], size int) (encoded [][]byte, err error) {
	for r, err := range records {
		if err != nil {
			return nil, err
		}
		b := format.EncodeRecord(r)
		if size += len(b) + 8; size > maxHeader-4<<10 {
			break
		}
		encoded = append(encoded, b)
	}
	return encoded, nil
}

// CompareRecords compares the records that both keep with those of a peer. It
// returns those of the list that the peer wants, and, if the list has all between
// two, some that it has there and are not listed: as many as one answer has room
// for. Kinds: Network, Unavailable, Invalid, Serialization, Authentication (a
// record that its owner did not sign).
func (c *Client) CompareRecords(ctx context.Context, peer datamesh.PeerID, l RecordList) (wanted []datamesh.RecordKey, missing []*datamesh.Record, err error) {
	req := request{Op: opCompareRecords, RecordKeys: wireRecordKeys(l.Keys)}
	if l.Between {
		req.Ends = wireRecordKeys([]datamesh.RecordKey{l.After, l.Upto})
	}
	resp, _, err := c.call(ctx, peer, req, exchange{silence: inventorySilence})
	if err != nil {
		return nil, nil, err
	}
	open := make(map[datamesh.RecordKey]bool, len(l.Keys)) // whether it may still be wanted
	for _, k := range l.Keys {
		open[k] = true
	}
	wanted = recordKeys(resp.RecordKeys)
	for _, k := range wanted {
		if !open[k] {
			return nil, nil, errs.New(errs.Serialization, "records: one is wanted of which nothing was said")
		}
		open[k] = false
	}
	for _, b := range resp.Records {
		r, err := format.DecodeRecord(b)
		if err != nil {
			return nil, nil, err
		}
		k := format.RecordKey(r)
		if _, listed := open[k]; listed || !l.holds(k) {
			return nil, nil, errs.New(errs.Serialization, "records: one came that was not asked for")
		}
		open[k] = false
		missing = append(missing, r)
	}
	return wanted, missing, nil
}

// compareRecords answers what CompareRecords asks.
func (s *Server) compareRecords(ctx context.Context, from datamesh.PeerID, req *request) (resp response, err error) {
	l := RecordList{Keys: recordKeys(req.RecordKeys), Between: len(req.Ends) == 2}
	if len(l.Keys) > MaxRecordKeys || len(req.Ends) > 0 && !l.Between {
		return resp, errs.New(errs.Invalid, "records: %d keys, limit %d, between %d", len(l.Keys), MaxRecordKeys, len(req.Ends))
	}
	if l.Between {
		ends := recordKeys(req.Ends)
		l.After, l.Upto = ends[0], ends[1]
	}
	for i := 1; i < len(l.Keys); i++ {
		if l.Keys[i-1].Compare(l.Keys[i]) >= 0 {
			return resp, errs.New(errs.Invalid, "records: key %d is not in its place", i)
		}
	}
	wanted, missing, err := s.registry.CompareRecords(ctx, from, l)
	if err != nil {
		return resp, err
	}
	resp.RecordKeys = wireRecordKeys(wanted)
	resp.Records, err = encodeRecords(missing, 96*len(wanted))
	return resp, err
}

func recordKeys(in []recordKey) []datamesh.RecordKey {
	out := make([]datamesh.RecordKey, len(in))
	for i, k := range in {
		out[i] = datamesh.RecordKey{Place: k.Place, Device: k.Device, Seq: k.Seq, Digest: k.Digest}
	}
	return out
}

func wireRecordKeys(in []datamesh.RecordKey) []recordKey {
	out := make([]recordKey, len(in))
	for i, k := range in {
		out[i] = recordKey{Place: k.Place, Device: k.Device, Seq: k.Seq, Digest: k.Digest}
	}
	return out
}
