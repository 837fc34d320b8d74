package measure

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"unicode/utf8"

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

func TestMessagesAreReadAsTheyAreWritten(t *testing.T) {
	for name, message := range messages {
		b, err := os.ReadFile(filepath.Join("testdata", name+".v1"))
		if err != nil {
			t.Fatal(err)
		}
		var got any
		switch message.(type) {
		case request:
			var r *request
			if r, err = readRequest(bytes.NewReader(b)); err == nil {
				got = *r
			}
		case response:
			var r *response
			if r, err = readResponse(bytes.NewReader(b)); err == nil {
				got = *r
			}
		}
		if err != nil || !reflect.DeepEqual(got, message) {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, message)
		}
	}
}

// add gives a fuzz target what is known.
func add(f *testing.F) {
	for name := range messages {
		b, err := os.ReadFile(filepath.Join("testdata", name+".v1"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

// FuzzRequest reads whatever a client says. What is read has one encoding.
func FuzzRequest(f *testing.F) {
	add(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if req, err := readRequest(bytes.NewReader(b)); err == nil {
			sameAgain(t, b, *req)
		}
	})
}

// FuzzResponse reads whatever a server says. What is read has one encoding,
// and an error can be shown.
func FuzzResponse(f *testing.F) {
	add(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		resp, err := readResponse(bytes.NewReader(b))
		if err != nil {
			return
		}
		sameAgain(t, b, *resp)
		if err := resp.err(); err != nil && (err.Error() == "" || !utf8.ValidString(err.Error())) {
			t.Errorf("%x is the error %q", b, err)
		}
	})
}

func sameAgain(t *testing.T, b []byte, message any) {
	var again bytes.Buffer
	if err := write(&again, message); err != nil || !bytes.HasPrefix(b, again.Bytes()) {
		t.Errorf("%x is read as %+v, which is written as %x", b, message, again.Bytes())
	}
}
