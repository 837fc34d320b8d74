package datamesh

import "context"

type sentKey struct{}

type receivedKey struct{}

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

// WithReceived returns a context in which a [ShardStore] at the other end of a
// network tells received of each piece of a shard, or slice, that has come, from
// the goroutine of the call: first of none, when the peer has begun to answer.
func WithReceived(ctx context.Context, received func(bytes int)) context.Context {
	return context.WithValue(ctx, receivedKey{}, received)
}

// Received returns the function that is to be told of what has come; it may be
// called in any case.
func Received(ctx context.Context) func(bytes int) {
	if received, ok := ctx.Value(receivedKey{}).(func(int)); ok {
		return received
	}
	return func(int) {}
}
