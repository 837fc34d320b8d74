package datamesh

import "context"

type uncheckedKey struct{}

// WithUnchecked returns a context in which the Get of a [ShardStore] may leave
// it to its caller to check the bytes of the shard against the descriptor.
func WithUnchecked(ctx context.Context) context.Context {
	return context.WithValue(ctx, uncheckedKey{}, true)
}

// Unchecked reports whether the caller of Get checks the bytes himself.
func Unchecked(ctx context.Context) bool {
	return ctx.Value(uncheckedKey{}) != nil
}
