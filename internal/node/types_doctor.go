package node

// A Diagnosis is the answer of doctor.
type Diagnosis struct {
	Checks []Check `json:"checks"`
}

// A Check is one thing that was looked at.
type Check struct {
	Name   string `json:"name"`
	Status string `json:"status"` // one of the constants below
	Detail string `json:"detail"`
	Advice string `json:"advice"` // what to type or do; "" if nothing
}

// What a check can come to.
const (
	CheckOK      = "ok"
	CheckWarning = "warning"
	CheckFailed  = "failed"
	CheckSkipped = "skipped"
)
