package store

const (
	applicationID = 0x444d4e44 // "DMND"
	schemaVersion = 1
)

// The schema of node.db. A shard is a file where payload is NULL; size is
// what it takes on disk. A generation is 8 bytes, big-endian, since SQLite's
// integers have a sign. In holders the younger row has the greater id.
const schema = `
CREATE TABLE segments (
	segment    BLOB PRIMARY KEY,
	descriptor BLOB NOT NULL
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
CREATE TABLE holders (
	id       INTEGER PRIMARY KEY,
	segment  BLOB NOT NULL,
	idx      INTEGER NOT NULL,
	peer     BLOB NOT NULL,
	reported INTEGER NOT NULL,
	UNIQUE (segment, idx, peer)
) STRICT;
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
CREATE INDEX IF NOT EXISTS holders_by_peer ON holders (peer, segment, idx);
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
CREATE TABLE IF NOT EXISTS proofs (
	segment BLOB NOT NULL,
	idx     INTEGER NOT NULL,
	peer    BLOB NOT NULL,
	proven  INTEGER NOT NULL,
	PRIMARY KEY (segment, idx, peer)
) STRICT, WITHOUT ROWID;
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
CREATE TRIGGER IF NOT EXISTS proofs_of_nobody AFTER DELETE ON holders BEGIN
	DELETE FROM proofs WHERE segment = OLD.segment AND idx = OLD.idx AND peer = OLD.peer;
END;
`
