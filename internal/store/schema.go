package store

const (
	applicationID = 0x444d4e44 // "DMND"
	schemaVersion = 2
)

// The schema of node.db. A shard is a file where payload is NULL; size is
// what it takes on disk. A generation is 8 bytes, big-endian, since SQLite's
// integers have a sign.
const schema = `
CREATE TABLE segments (
	segment    BLOB PRIMARY KEY,
	descriptor BLOB NOT NULL,
	holders    BLOB NOT NULL DEFAULT x''
) STRICT, WITHOUT ROWID;
CREATE TABLE payloads (
	id   INTEGER PRIMARY KEY,
	data BLOB NOT NULL
) STRICT;
CREATE TABLE shards (
	segment BLOB NOT NULL,
	idx     INTEGER NOT NULL,
	size    INTEGER NOT NULL,
	payload INTEGER,
	PRIMARY KEY (segment, idx)
) STRICT, WITHOUT ROWID;
CREATE TABLE tombstones (
	segment    BLOB PRIMARY KEY,
	generation BLOB NOT NULL,
	deletion   BLOB NOT NULL
) STRICT, WITHOUT ROWID;
` + holderTables

// holderTables are of who holds what, with the column holders of segments: see
// [holder]. A peer has a number there, which is never given to another. What is in
// holders and what is in holdings is the same, in the order of either.
const holderTables = `
CREATE TABLE peers (
	number INTEGER PRIMARY KEY AUTOINCREMENT,
	peer   BLOB NOT NULL UNIQUE
) STRICT;
CREATE TABLE holdings (
	peer    INTEGER NOT NULL,
	segment BLOB NOT NULL,
	idx     INTEGER NOT NULL,
	PRIMARY KEY (peer, segment, idx)
) STRICT, WITHOUT ROWID;
`

// additions are what later versions have added. A row of trash is one of shards
// that was dropped, and when: after how many seconds for which the store was
// open. Undeletions are words that bring back, and tombstones words that delete:
// of a segment there is one of the two at most. In records seq and base are 8
// bytes, big-endian, so that their order is that of the numbers. A store of an earlier one gets
// them when it is opened; an earlier program does not look at them.
const additions = `
CREATE TABLE IF NOT EXISTS positions (
	name  TEXT PRIMARY KEY,
	value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS undeletions (
	segment    BLOB PRIMARY KEY,
	generation BLOB NOT NULL,
	deletion   BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS trash (
	segment BLOB NOT NULL,
	idx     INTEGER NOT NULL,
	size    INTEGER NOT NULL,
	payload INTEGER,
	dropped INTEGER NOT NULL,
	PRIMARY KEY (segment, idx)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS trash_by_age ON trash (dropped);
CREATE TABLE IF NOT EXISTS receipts (
	id      INTEGER PRIMARY KEY,
	segment BLOB NOT NULL,
	receipt BLOB NOT NULL,
	UNIQUE (segment, receipt)
) STRICT;
CREATE TABLE IF NOT EXISTS records (
	place  BLOB NOT NULL,
	device BLOB NOT NULL,
	seq    BLOB NOT NULL,
	digest BLOB NOT NULL,
	base   BLOB NOT NULL,
	record BLOB NOT NULL,
	PRIMARY KEY (place, device, seq, digest)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS receipts_of_nothing AFTER DELETE ON segments BEGIN
	DELETE FROM receipts WHERE segment = OLD.segment;
END;
`
