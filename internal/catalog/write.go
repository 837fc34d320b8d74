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
	ctx  context.Context // of who wants it
	make func(*writing) error
	err  error // what came of it
	made chan struct{}

	panicked string // what it panicked with, and where
}

// waiting are changes whose turn has not come.
type waiting struct {
	mu  sync.Mutex // guards all
	all []*change
}

func (w *waiting) add(m *change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, m)
}

// leave takes a change back, and reports whether its turn had not come.
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
// many have come, but no longer than patience.
const (
	crowd    = 4
	patience = 30 * time.Millisecond
)

// gather waits, if the last changes that were made together were a crowd, until as
// many wait and a moment has brought no other.
func (w *waiting) gather(last int) {
	if last < crowd {
		return
	}
	began, n := time.Now(), w.count()
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

// take returns all that wait, whose turn it is now.
func (w *waiting) take() []*change {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.all
	w.all = nil
	return all
}

// write makes a change, and returns when it is durable. Of those who want one at
// the same time, one makes what all want in one transaction, so that they share
// its sync. A change that fails is taken back alone; what befalls the transaction
// is the error of all. One whose context has ended is not begun, or ends before its
// next statement.
func (c *Catalog) write(ctx context.Context, do func(*writing) error) error {
	c.adding.RLock()
	defer c.adding.RUnlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	m := &change{ctx: ctx, make: do, made: make(chan struct{})}
	c.waiting.add(m)
	select {
	case <-m.made:
	case c.turn <- struct{}{}:
		c.writeAll()
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

// writeAll makes the changes that wait, in one transaction. Its caller has the turn,
// which it gives back.
func (c *Catalog) writeAll() {
	defer func() { <-c.turn }()
	c.waiting.gather(c.last)
	err := c.begin()
	changes := c.waiting.take() // also those that came while another process was writing
	c.last = len(changes)
	for _, m := range changes {
		if err == nil {
			err = c.writeOne(m)
		}
	}
	if err == nil {
		err = c.writer.run(`COMMIT`)
	}
	if err != nil {
		c.writer.run(`ROLLBACK`) // fails if there is no transaction any more
	}
	for _, m := range changes {
		if err != nil && errs.KindOf(err) == 0 {
			m.err = c.classify(m.ctx, err)
		} else if err != nil {
			m.err = err
		}
		close(m.made)
	}
}

// begin begins a transaction, on the connection that is kept for that.
func (c *Catalog) begin() (err error) {
	if c.writer.conn == nil {
		if c.writer.conn, err = c.db.Conn(context.Background()); err != nil {
			return err
		}
	}
	return c.writer.run(`BEGIN IMMEDIATE`)
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
			switch errs.KindOf(m.err) {
			case errs.Full, errs.IO, errs.Database: // SQLite takes back all then
				return m.err
			}
			return lost
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

var errPanicked = errs.New(errs.Other, "a change panicked")

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
