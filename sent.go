package datamesh

import "context"

type sentKey struct{}

// WithSent returns a context in which a [ShardStore] at the other end of a
// network tells sent of each piece of a message with a shard that it has sent,
// from whichever goroutine.
func WithSent(ctx context.Context, sent func(bytes int)) context.Context {
	return context.WithValue(ctx, sentKey{}, sent)
}

// Sent returns the function that is to be told of what is sent; it may be
// called in any case.
func Sent(ctx context.Context) func(bytes int) {
	if sent, ok := ctx.Value(sentKey{}).(func(int)); ok {
		return sent
	}
	return func(int) {}
}
