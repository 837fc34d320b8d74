package transfer

import (
	"context"

	"datamesh"
	"datamesh/internal/errs"
	"datamesh/internal/format"
	"datamesh/internal/store"
)

// Receipts asks a registrar for the receipts that it keeps of a segment. They
// are signed by those that they name as holders; whether they fit the segment
// and the mesh is for the caller to check. What is none is returned as an error
// in refused, of kind Authentication or Serialization. Kinds of the other error:
// Network, Unavailable, Serialization.
func (c *Client) Receipts(ctx context.Context, peer datamesh.PeerID, segment datamesh.SegmentID) (list []*datamesh.Receipt, refused []error, err error) {
	resp, _, err := c.call(ctx, peer, request{Op: opReceipts, Keys: []key{{Segment: segment}}}, exchange{silence: getSilence})
	if err != nil {
		return nil, nil, err
	}
	if len(resp.Receipts) > store.MaxReceipts {
		return nil, nil, errs.New(errs.Serialization, "%d receipts, limit %d", len(resp.Receipts), store.MaxReceipts)
	}
	for _, b := range resp.Receipts {
		r, err := format.DecodeReceipt(b)
		if err != nil {
			refused = append(refused, err)
			continue
		}
		list = append(list, r)
	}
	return list, refused, nil
}

func (s *Server) receipts(ctx context.Context, req *request) (resp response, err error) {
	key, err := theKey(req)
	if err != nil {
		return resp, err
	}
	list, err := s.registry.Receipts(ctx, key.Segment)
	for _, r := range list {
		resp.Receipts = append(resp.Receipts, format.EncodeReceipt(r))
	}
	return resp, err
}
