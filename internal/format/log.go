package format

import (
	"math"
	"unicode/utf8"

	"datamesh"
	"datamesh/internal/crypt"
	"datamesh/internal/errs"
)

// Limits of the log of a catalog.
const (
	// MaxLogBlock is how many bytes a block of a log has at most, before it is
	// sealed. There is room in it for any one change.
	MaxLogBlock = 30 << 10
	// MaxSealedLog is the limit of a sealed block.
	MaxSealedLog = 32 << 10
	// MaxRuns is how many runs a block names at most.
	MaxRuns = 128
	// MaxNames is how many names an object has at most beside its first.
	MaxNames = 64
	// MaxNamesBytes is how many bytes these have together at most.
	MaxNamesBytes = 8 << 10

	// MaxEpoch is the greatest number of an epoch.
	MaxEpoch = 1 << 10

	logLevels = 16 // of runs
)

// What has become of an object.
const (
	Listed       = iota
	Deleted      // it can be brought back for some time
	DeletedFinal // for ever
	Forgotten    // it is in the catalog no more, whatever the mesh has of it
)

// A Change is what a device has last said of an object: all that its catalog
// has of that. Of two changes of one object the one with the greater clock
// holds, and of two with the same that of the device with the greater id.
type Change struct {
	Object  datamesh.ObjectID `cbor:"1,keyasint"`
	Clock   uint64            `cbor:"2,keyasint"`           // of the device: see [ClockOf]
	Name    string            `cbor:"3,keyasint,omitempty"` // valid UTF-8
	Size    int64             `cbor:"4,keyasint"`           // bytes of content
	Tags    []string          `cbor:"5,keyasint,omitempty"`
	Created int64             `cbor:"6,keyasint"`            // nanoseconds since 1970
	Stored  int64             `cbor:"7,keyasint"`            // bytes of all shards
	State   uint64            `cbor:"8,keyasint,omitempty"`  // [Listed] to [Forgotten]
	At      int64             `cbor:"9,keyasint,omitempty"`  // when it was deleted, nanoseconds since 1970
	Word    uint64            `cbor:"10,keyasint,omitempty"` // the generation of the owner's word on the manifest that deletes it
	Done    bool              `cbor:"11,keyasint,omitempty"` // the mesh has been told so
	Type    string            `cbor:"12,keyasint,omitempty"` // media type
	Mode    uint32            `cbor:"13,keyasint,omitempty"` // permission bits of the file, or datamesh.NoPermissions
	ModTime int64             `cbor:"14,keyasint,omitempty"` // of the file, nanoseconds since 1970
	Pinned  bool              `cbor:"15,keyasint,omitempty"` // it is not to be deleted
	Further []string          `cbor:"16,keyasint,omitempty"` // names beside Name, in order, none twice
	Was     []byte            `cbor:"20,keyasint,omitempty"` // the ObjectID that it had before its manifest was sealed anew
	Epoch   int               `cbor:"21,keyasint,omitempty"` // of the recipient that its manifest is sealed to
	Share   *Share            `cbor:"24,keyasint,omitempty"` // nil: it is no share
	Contact *Contact          `cbor:"25,keyasint,omitempty"` // nil: it is no contact

	Succession *Succession `cbor:"26,keyasint,omitempty"` // nil: it is no succession
}

// A Run names an object that has the changes of a device which are in no
// record any more, as a sequence of blocks: see [AppendBlock].
type Run struct {
	Object  datamesh.ObjectID `cbor:"1,keyasint"`
	Level   int               `cbor:"2,keyasint"` // 1: of records, others: of runs of the level before
	Changes int               `cbor:"3,keyasint"`
}

// A LogBlock is a piece of the log of a device's catalog.
type LogBlock struct {
	Version uint64   `cbor:"1,keyasint"`
	Changes []Change `cbor:"2,keyasint,omitempty"`
	Runs    []Run    `cbor:"3,keyasint,omitempty"` // all that there are, in a block that takes the place of others
}

// ClockOf returns the least clock of a time, in milliseconds since 1970. Clocks
// are hybrid (Kulkarni et al. 2014): that of a change is greater than all that
// its device has known, and else the time.
func ClockOf(milliseconds int64) uint64 { return uint64(max(milliseconds, 0)) << 16 }

// EncodeBlock returns the bytes of a block. Kind: Invalid, for one that could not be read back.
func EncodeBlock(b *LogBlock) ([]byte, error) {
	b.Version = Version
	if err := b.check(); err != nil {
		return nil, errs.New(errs.Invalid, "%w", err)
	}
	text := Marshal(b)
	if len(text) > MaxLogBlock {
		return nil, errs.New(errs.Invalid, "log block of %d bytes, limit %d", len(text), MaxLogBlock)
	}
	return text, nil
}

// DecodeBlock reads a block. Kind: Serialization.
func DecodeBlock(text []byte) (*LogBlock, error) {
	b := new(LogBlock)
	if err := unmarshalOpen("log block", text, MaxLogBlock, b); err != nil {
		return nil, err
	}
	return b, b.check()
}

func (b *LogBlock) check() error {
	if len(b.Runs) > MaxRuns {
		return errs.New(errs.Serialization, "log block: %d runs, limit %d", len(b.Runs), MaxRuns)
	}
	for _, r := range b.Runs {
		if r.Level < 1 || r.Level > logLevels || r.Changes < 1 {
			return errs.New(errs.Serialization, "log block: a run of level %d with %d changes", r.Level, r.Changes)
		}
	}
	for i := range b.Changes {
		if err := b.Changes[i].check(); err != nil {
			return err
		}
	}
	return nil
}

func (c *Change) check() error {
	switch {
	case len(c.Name) > MaxName || !utf8.ValidString(c.Name):
		return errs.New(errs.Serialization, "change: a name has at most %d bytes of valid UTF-8", MaxName)
	case len(c.Type) > MaxType || !utf8.ValidString(c.Type) || !datamesh.ValidMode(c.Mode):
		return errs.New(errs.Serialization, "change: a type of %d bytes, mode %#o", len(c.Type), c.Mode)
	case c.Size < 0 || c.Stored < 0:
		return errs.New(errs.Serialization, "change: %d bytes, stored as %d", c.Size, c.Stored)
	case c.State > Forgotten || c.State == Listed && (c.At != 0 || c.Word != 0 || c.Done):
		return errs.New(errs.Serialization, "change: state %d", c.State)
	case len(c.Was) != 0 && len(c.Was) != len(c.Object) || c.Epoch < 0 || c.Epoch > MaxEpoch:
		return errs.New(errs.Serialization, "change: an id of %d bytes before, epoch %d", len(c.Was), c.Epoch)
	case c.Clock == 0 || c.Clock > math.MaxInt64: // a database has it
		return errs.New(errs.Serialization, "change: clock %d", c.Clock)
	}
	if err := checkFurther(c.Name, c.Further); err != nil {
		return err
	}
	if err := c.checkShared(); err != nil {
		return err
	}
	return checkTags(c.Tags)
}

func checkFurther(name string, further []string) error {
	bytes, last := 0, ""
	for _, x := range further {
		if x <= last || x == name || name == "" || len(x) > MaxName || !utf8.ValidString(x) {
			return errs.New(errs.Serialization, "further names: each has at most %d bytes of valid UTF-8, and they are in order, none twice, beside another", MaxName)
		}
		bytes, last = bytes+len(x), x
	}
	if len(further) > MaxNames || bytes > MaxNamesBytes {
		return errs.New(errs.Serialization, "%d further names of %d bytes, limit %d of %d", len(further), bytes, MaxNames, MaxNamesBytes)
	}
	return nil
}

// sealedBlock is a block that only its owner can open.
type sealedBlock struct {
	Version uint64   `cbor:"1,keyasint"`
	Salt    [32]byte `cbor:"2,keyasint"`
	Body    []byte   `cbor:"3,keyasint"` // one sealed frame
}

const logContext = "datamesh v1 key of a log block"

// SealBlock returns a block sealed under the key of the owner's catalog. Kind:
// Invalid, as [EncodeBlock].
func SealBlock(b *LogBlock, catalog [32]byte) ([]byte, error) {
	text, err := EncodeBlock(b)
	if err != nil {
		return nil, err
	}
	s := sealedBlock{Version: Version}
	s.Salt, s.Body = crypt.SealUnder(catalog, logContext, text)
	return Marshal(s), nil
}

// OpenBlock opens a sealed block. Kinds: Serialization, Integrity (it is of
// another key, or damaged).
func OpenBlock(sealed []byte, catalog [32]byte) (*LogBlock, error) {
	var s sealedBlock
	if err := unmarshalVersion("sealed log block", sealed, MaxSealedLog, &s); err != nil {
		return nil, err
	}
	text, err := crypt.OpenUnder(catalog, logContext, s.Salt, s.Body)
	if err != nil {
		return nil, err
	}
	return DecodeBlock(text)
}
