package api

import (
	"encoding/json"
	"net/url"
)

// The paths of the API. An object is named by the query parameter ref; the
// options of what takes any are JSON in the
// query parameter options, and the body of a put is the content.
const (
	identityPath = "/v1/identity"
	objectsPath  = "/v1/objects" // GET lists, POST puts, DELETE deletes
	deletedPath  = "/v1/deleted" // GET lists what was deleted, DELETE brings back
	contentPath  = "/v1/content" // GET gets
	infoPath     = "/v1/info"
	checkPath    = "/v1/check"
	peersPath    = "/v1/peers"
	statsPath    = "/v1/stats"
	healthPath   = "/v1/health"
	metricsPath  = "/v1/metrics"

	versionsPath = "/v1/versions" // of a name, the query parameter ref
	renamePath   = "/v1/rename"
	copyPath     = "/v1/copy"
	tagPath      = "/v1/tag"
	pinPath      = "/v1/pin"

	alivePath     = "/v1/alive"
	publishPath   = "/v1/publish"
	hearPath      = "/v1/hear"
	planPath      = "/v1/plan"      // of a put
	transfersPath = "/v1/transfers" // GET lists, DELETE cancels the one that the query parameter id names

	discoverPath  = "/v1/discover"
	bandwidthPath = "/v1/bandwidth"
	doctorPath    = "/v1/doctor"
	scrubPath     = "/v1/scrub"
	auditPath     = "/v1/audit"
	repairPath    = "/v1/repair"
	receiptsPath  = "/v1/receipts"
	cleanupPath   = "/v1/cleanup"
	contactsPath  = "/v1/contacts" // GET lists, POST adds the one of the query parameters name and address, DELETE removes
	sharesPath    = "/v1/shares"   // GET lists, POST shares, DELETE takes back
	inboxPath     = "/v1/inbox"

	backupsPath = "/v1/backups"
	gonePath    = "/v1/gone" // its body has the ids
)

const (
	jsonType    = "application/json"
	problemType = "application/problem+json"
	contentType = "application/octet-stream"
)

// A list answers with a document that comes element by element; one that breaks off
// is followed by problemTrailer. A get answers with objectHeader before the content and with one of the two
// trailers after it: without one, the content is not whole.
const (
	objectHeader   = "Datamesh-Object"
	fetchedTrailer = "Datamesh-Fetched"
	problemTrailer = "Datamesh-Problem"
)

// maxHeader bounds the bytes of a header or a trailer. A trailer lists every
// bad shard that a get met.
const maxHeader = 64 << 20

// toHeader returns the JSON of v in the characters that a header may have.
func toHeader(v any) (string, error) {
	b, err := json.Marshal(v)
	return url.PathEscape(string(b)), err
}

func fromHeader(s string, v any) error {
	s, err := url.PathUnescape(s)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(s), v)
}
