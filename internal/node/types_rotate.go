package node

import "datamesh"

// Rotated is the result of a rotation.
type Rotated struct {
	Owner     datamesh.OwnerKey `json:"owner"`
	Epoch     int               `json:"epoch"`     // that objects are sealed to from now on
	Recipient string            `json:"recipient"` // of that epoch
	Resealed  int               `json:"resealed"`  // objects that have another id now
	Shared    int               `json:"shared"`    // objects that are as they were, since others can read them
	Failed    int               `json:"failed"`    // objects that are as they were, and should not be
}
