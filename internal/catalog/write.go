package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"datamesh"
	"datamesh/internal/errs"
)

// A change is something that is to be done to the catalog, all of it or nothing.
type change struct {
	ctx   context.Context // of who wants it
	make  func(*writing) error
	since time.Time // when it began to wait
	err   error     // what came of it; errUnmade before that
	made  chan struct{}

	panicked string // what it panicked with, and where
}

var (
	errUnmade   = errs.New(errs.Other, "a change has ended the goroutine that made it")
	errPanicked = errs.New(errs.Other, "a change panicked")
)

// waiting are changes that are in no transaction yet.
type waiting struct {
	mu   sync.Mutex // guards the rest
	all  []*change
	busy bool // a goroutine writes, and sees to what waits when it ends
}

// leave takes a change back, and reports whether it was in no transaction yet.
func (w *waiting) leave(m *change) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.all {
		if w.all[i] == m {
			w.all = append(w.all[:i], w.all[i+1:]...)
			return true
		}
	}
	return false
}

// How changes are gathered, as in a store: after a crowd the next ones wait until as
// many have come, but no longer than patience. A crowd is forgotten when nothing has
// come for a time.
const (
	crowd    = 4
	patience = 30 * time.Millisecond
	recent   = 100 * time.Millisecond
)

// gather waits, if the last changes that were made together were a crowd, until as
// many wait and a moment has brought no other.
func (w *waiting) gather(last int, ended time.Time) {
	began, n := time.Now(), w.count()
	if last < crowd || began.Sub(ended) >= recent {
		return
	}
	for time.Since(began) < patience {
		time.Sleep(time.Millisecond)
		now := w.count()
		if now >= last && now == n {
			return
		}
		n = now
	}
}

func (w *waiting) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.all)
}

// take returns those that have waited since a time, or longer, and wait no more.
func (w *waiting) take(since time.Time) []*change {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for n < len(w.all) && !w.all[n].since.After(since) {
		n++
	}
	taken := w.all[:n:n]
	w.all = w.all[n:]
	return taken
}

// write makes a change, and returns when it is durable. Those that are wanted at the
// same time are made in one transaction, so that they share its sync. A change that
// fails is taken back alone; if the whole transaction is lost each of the others is
// made once more, alone, so that do may be called twice, and must then forget what it
// found before. One whose context has ended is not begun, or ends before its next
// statement.
//
// While do runs nobody else writes: it must not wait for anything that others hold as
// they write, such as a lock, and must not write itself.
func (c *Catalog) write(ctx context.Context, do func(*writing) error) error {
	c.adding.RLock()
	defer c.adding.RUnlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	m := &change{ctx: ctx, make: do, err: errUnmade, made: make(chan struct{})}
	c.add(m)
	select {
	case <-m.made:
	case <-ctx.Done():
		if c.waiting.leave(m) {
			return ctx.Err()
		}
		<-m.made // it uses what is its caller's
	}
	if m.panicked != "" {
		panic(m.panicked)
	}
	return m.err
}

// add has a change wait, and begins to write if nobody does.
func (c *Catalog) add(m *change) {
	c.waiting.mu.Lock()
	defer c.waiting.mu.Unlock()
	m.since = time.Now()
	c.waiting.all = append(c.waiting.all, m)
	if !c.waiting.busy {
		c.waiting.busy = true
		c.writing.Go(c.writeAll)
	}
}

// writeNext has what waits be written when a transaction is over.
func (c *Catalog) writeNext() {
	c.waiting.mu.Lock()
	defer c.waiting.mu.Unlock()
	if c.waiting.busy = len(c.waiting.all) > 0; c.waiting.busy {
		c.writing.Go(c.writeAll)
	}
}

// writeAll makes the changes that wait, in one transaction. It has a goroutine of its
// own, so that a change that ends that one leaves nobody waiting.
func (c *Catalog) writeAll() {
	defer c.writeNext()
	c.waiting.gather(c.last, c.ended)
	began := time.Now()
	err := c.begin(func() bool { return c.waiting.count() > 0 })
	if err == nil {
		began = time.Now() // those that came while another process was writing can come along
	}
	changes := c.waiting.take(began)
	defer func() {
		c.last, c.ended = len(changes), time.Now()
		for _, m := range changes {
			close(m.made)
		}
	}()
	tried := err == nil && len(changes) > 1
	if err == nil {
		err = c.transact(changes)
	}
	for _, m := range changes {
		if m.err == errUnmade && tried { // let no change suffer for another
			if err = c.begin(func() bool { return m.ctx.Err() == nil }); err == nil {
				err = c.transact([]*change{m})
			}
		}
		if m.err == errUnmade {
			m.err = c.classify(m.ctx, err)
		}
	}
}

// begin begins a transaction, on the connection that is kept for that. While another
// process writes it tries again, as long as that is wanted and for lockPatience.
func (c *Catalog) begin(wanted func() bool) (err error) {
	if c.writer.conn == nil {
		conn, err := c.db.Conn(context.Background())
		if err != nil {
			return err
		}
		if _, err := conn.ExecContext(context.Background(), `PRAGMA busy_timeout = 100`); err != nil { // of one try
			return errors.Join(err, conn.Close())
		}
		c.writer.conn = conn
	}
	for began := time.Now(); ; {
		err = c.writer.run(`BEGIN IMMEDIATE`)
		if !isBusy(err) || time.Since(began) >= lockPatience || !wanted() {
			return err
		}
	}
}

// lockPatience is for how long other processes may keep a change from being made.
const lockPatience = 10 * time.Second

// transact makes changes in the transaction that has begun, and ends it. An error is
// that of all that have none of their own, and of which nothing was made.
func (c *Catalog) transact(changes []*change) error {
	committed := false
	defer func() {
		if !committed {
			c.writer.run(`ROLLBACK`) // fails if there is no transaction any more
		}
	}()
	for _, m := range changes {
		if err := c.writeOne(m); err != nil {
			return err
		}
	}
	if err := c.writer.run(`COMMIT`); err != nil {
		return err
	}
	committed = true
	for _, m := range changes {
		if m.err == errUnmade {
			m.err = nil
		}
	}
	return nil
}

// writeOne makes one of the changes of a transaction, whose error is its own. The
// error that is returned is that of the transaction.
func (c *Catalog) writeOne(m *change) error {
	if err := c.writer.run(`SAVEPOINT change`); err != nil {
		return err
	}
	if err := m.do(&writing{c, m.ctx, &c.writer}); err != nil {
		m.err = err
		if errs.KindOf(err) == 0 {
			m.err = c.classify(m.ctx, err)
		}
		if lost := c.writer.run(`ROLLBACK TO change`); lost != nil {
			return lost // SQLite takes back all when a disk is full, for one
		}
	}
	return c.writer.run(`RELEASE change`)
}

// do makes the change. If it panics, so will who wants it.
func (m *change) do(w *writing) (err error) {
	defer func() {
		if p := recover(); p != nil {
			m.panicked = fmt.Sprintf("%v\n\n%s", p, debug.Stack())
			err = errPanicked
		}
	}()
	if err := m.ctx.Err(); err != nil {
		return err
	}
	return m.make(w)
}

// A writer is a connection that writes, and what was compiled on it. A statement runs
// to its end whatever context ends: SQLite takes back a whole transaction of which a
// statement is interrupted.
type writer struct {
	conn     *sql.Conn // nil before the first transaction
	prepared statements
}

func (w *writer) prepare(text string) (*sql.Stmt, error) {
	return w.prepared.prepare(context.Background(), w.conn, text)
}

func (w *writer) run(statement string) error {
	s, err := w.prepare(statement)
	if err == nil {
		_, err = s.Exec()
	}
	return err
}

func (w *writer) close() error {
	err := w.prepared.close()
	if w.conn != nil {
		err = errors.Join(err, w.conn.Close())
		w.conn = nil
	}
	return err
}

// statements have been compiled, and are kept by their text.
type statements struct {
	mu  sync.Mutex // guards all
	all map[string]*sql.Stmt
}

func (s *statements) prepare(ctx context.Context, on preparer, text string) (*sql.Stmt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if stmt := s.all[text]; stmt != nil {
		return stmt, nil
	}
	stmt, err := on.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	if s.all == nil {
		s.all = map[string]*sql.Stmt{}
	}
	s.all[text] = stmt
	return stmt, nil
}

func (s *statements) close() (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, stmt := range s.all {
		err = errors.Join(err, stmt.Close())
	}
	s.all = nil
	return err
}

// A preparer is a database, or a connection to it.
type preparer interface {
	PrepareContext(context.Context, string) (*sql.Stmt, error)
}

// A writing is a change that is being made.
type writing struct {
	c   *Catalog
	ctx context.Context // no statement begins after its end
	on  *writer
}

func (w *writing) exec(statement string, args ...any) (changed int64, err error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	var result sql.Result
	if len(args) == 0 { // it may be several
		result, err = w.on.conn.ExecContext(context.Background(), statement)
	} else {
		var s *sql.Stmt
		if s, err = w.on.prepare(statement); err == nil {
			result, err = s.Exec(args...)
		}
	}
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (w *writing) row(into []any, query string, args ...any) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	s, err := w.on.prepare(query)
	if err != nil {
		return err
	}
	return s.QueryRow(args...).Scan(into...)
}

// query is for what may have many rows, and is not kept.
func (w *writing) query(query string, args ...any) (*sql.Rows, error) {
	if err := w.ctx.Err(); err != nil {
		return nil, err
	}
	return w.on.conn.QueryContext(context.Background(), query, args...)
}

// each calls scan with each row of a query.
func (w *writing) each(scan func(*sql.Rows) error, query string, args ...any) error {
	rows, err := w.query(query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// ids returns the ids that a query yields.
func (w *writing) ids(query string, args ...any) (ids []datamesh.ObjectID, err error) {
	err = w.each(func(rows *sql.Rows) error {
		var id []byte
		err := rows.Scan(&id)
		ids = append(ids, idOf(id))
		return err
	}, query, args...)
	return ids, err
}

// idOf returns an id that a row has; one that makes no sense is that of nothing.
func idOf(b []byte) (id datamesh.ObjectID) {
	copy(id[:], b)
	return id
}
