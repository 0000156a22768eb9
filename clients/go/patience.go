package footage

import (
	"context"
	"math/rand/v2"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
)

const (
	firstPause   = 100 * time.Millisecond
	longestPause = 5 * time.Second
)

// patience decides how long to go on after failures that pass: as the server asks, else longer each time, until time is up.
type patience struct {
	// How long to go on after the first failure.
	limit    time.Duration
	giveUpAt time.Time
	failures int
}

// reset notes that something was received: the next failure is a first one.
func (p *patience) reset() {
	p.failures = 0
	p.giveUpAt = time.Time{}
}

// pauseAfter waits before going on, or returns the failure where that makes no sense. A failure that is nil is a stream
// that ended early.
func (p *patience) pauseAfter(ctx context.Context, failure *Error) error {
	if ctx.Err() != nil {
		return fromCall(ctx, ctx.Err())
	}
	if failure == nil {
		failure = &Error{Code: codes.Unavailable, Message: "the stream ended before all had come"}
	}
	if !passes(failure) {
		return failure
	}
	now := time.Now()
	if p.giveUpAt.IsZero() {
		p.giveUpAt = now.Add(p.limit)
	}
	backoff := min(firstPause<<min(p.failures, 10), longestPause)
	pause := max(failure.RetryAfter, backoff/2+rand.N(backoff/2))
	deadline, has := ctx.Deadline()
	if end := now.Add(pause); end.After(p.giveUpAt) || has && end.After(deadline) {
		return failure
	}
	p.failures++
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fromCall(ctx, ctx.Err())
	}
}

// passes says whether the same call may succeed a little later.
func passes(failure *Error) bool {
	if failure.Code == codes.Unavailable {
		return true
	}
	for _, detail := range failure.Details {
		if _, asked := detail.(*errdetails.RetryInfo); asked {
			return true
		}
	}
	// A connection that breaks in the middle of an answer; what the server itself says has a reason.
	return failure.Reason == "" && (failure.Code == codes.Internal || failure.Code == codes.Unknown)
}
