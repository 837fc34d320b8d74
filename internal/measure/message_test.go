package measure

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"datamesh/internal/errs"
)

var update = flag.Bool("update", false, "write the golden files anew; only for a new version")

// messages has a request of each operation, and each form of a response.
var messages = map[string]any{
	"request-clock":     request{Version: version, Op: opClock},
	"request-take":      request{Version: version, Op: opTake, Bytes: MaxBytes},
	"request-send":      request{Version: version, Op: opSend, Bytes: 1},
	"request-dial-back": request{Version: version, Op: opDialBack},
	"response-error":    response{Version: version, Kind: uint8(errs.Unavailable), Text: "busy: ü"},
	"response-clock":    response{Version: version, Clock: 1_790_000_000_000},
	"response-begin":    response{Version: version},
	"response-bytes":    response{Version: version, Bytes: MaxBytes},
	"response-dial-back": response{Version: version, Seen: "192.0.2.1", Reached: []reached{
		{Addr: "/ip4/192.0.2.1/tcp/40871", Answers: true}, {Addr: "/ip4/192.0.2.1/tcp/1"}}},
}

func TestMessagesKeepTheirBytes(t *testing.T) {
	for name, message := range messages {
		var b bytes.Buffer
		if err := write(&b, message); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", name+".v1")
		if *update {
			if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b.Bytes(), want) {
			t.Errorf("%s: %x, other than the %x that was fixed", name, b.Bytes(), want)
		}
	}
}
