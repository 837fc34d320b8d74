package node

import "datamesh"

// A Recovered is what came back of an owner's catalog.
type Recovered struct {
	Owner    datamesh.OwnerKey `json:"owner"`
	Objects  int64             `json:"objects"`
	Bytes    int64             `json:"bytes"`    // of their content
	Devices  int               `json:"devices"`  // homes that have said something
	Answered int               `json:"answered"` // peers that keep the owner's records
	Asked    int               `json:"asked"`
	Missing  int               `json:"missing"` // records that none of these has, though later ones are there
}
