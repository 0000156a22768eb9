package footage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"sync/atomic"
	"time"

	"heldar/footage/footagepb"
)

// How long a caller whose context is done waits for the server to be told.
const cancelTimeout = 5 * time.Second

// RunningJob is a job that the server works on, whether or not anybody follows it. R is what it makes.
type RunningJob[R any] struct {
	client *Client
	newest atomic.Pointer[footagepb.Job]
	result func(*footagepb.Job) R
}

func newRunningJob[R any](client *Client, job *footagepb.Job, result func(*footagepb.Job) R) *RunningJob[R] {
	running := &RunningJob[R]{client: client, result: result}
	running.newest.Store(job)
	return running
}

// FollowOption changes how a job is followed.
type FollowOption func(*following)

// OnProgress calls back with each state of the job.
func OnProgress(show func(*footagepb.Job)) FollowOption {
	return func(f *following) { f.onProgress = show }
}

// CancelWithContext cancels the job on the server when the context is done before the job has ended. With a context of
// [signal.NotifyContext] that is what Ctrl-C does. Without this option the job goes on.
func CancelWithContext() FollowOption {
	return func(f *following) { f.cancels = true }
}

// ID returns the job's id, for [Client.Follow].
func (j *RunningJob[R]) ID() string { return j.State().GetId() }

// State returns the newest state that was seen.
func (j *RunningJob[R]) State() *footagepb.Job { return j.newest.Load() }

// States gives every state from the present one to the end state; a broken stream is resumed. Leaving the loop does nothing
// to the job. An error is the last that it gives, together with the newest state.
func (j *RunningJob[R]) States(ctx context.Context, options ...FollowOption) iter.Seq2[*footagepb.Job, error] {
	return func(yield func(*footagepb.Job, error) bool) {
		f := following{client: j.client, seen: j.State(), patience: patience{limit: j.client.settings.patience}}
		for _, option := range options {
			option(&f)
		}
		f.run(ctx, func(job *footagepb.Job, err error) bool {
			j.keep(job)
			return yield(job, err)
		})
	}
}

// Result waits for the end and returns what was made, or a [*JobError] when the job failed or was cancelled.
func (j *RunningJob[R]) Result(ctx context.Context, options ...FollowOption) (R, error) {
	var none R
	for _, err := range j.States(ctx, options...) {
		if err != nil {
			return none, err
		}
	}
	job := j.State()
	if job.GetState() != footagepb.JobState_JOB_STATE_SUCCEEDED {
		return none, fromJob(job)
	}
	return j.result(job), nil
}

// Cancel asks the job to stop, and returns it as it is then.
func (j *RunningJob[R]) Cancel(ctx context.Context) (*footagepb.Job, error) {
	return cancelJob(ctx, j.client, j.ID())
}

// keep notes a state, unless another goroutine that follows the job has seen a newer one.
func (j *RunningJob[R]) keep(job *footagepb.Job) {
	for {
		known := j.newest.Load()
		if job.GetRevision() <= known.GetRevision() || j.newest.CompareAndSwap(known, job) {
			return
		}
	}
}

// following is one walk through the states of a job.
type following struct {
	client     *Client
	seen       *footagepb.Job
	patience   patience
	onProgress func(*footagepb.Job)
	cancels    bool
}

func (f *following) run(ctx context.Context, yield func(*footagepb.Job, error) bool) {
	goesOn := f.show(yield)
	for goesOn && !hasEnded(f.seen) {
		var failure *Error
		if goesOn, failure = f.watch(ctx, yield); !goesOn || hasEnded(f.seen) {
			break
		}
		if err := f.patience.pauseAfter(ctx, failure); err != nil {
			yield(f.seen, with(err, f.cancelIfDone(ctx)))
			return
		}
	}
	// The caller left the loop, and there is nobody to hear of a failure.
	_ = f.cancelIfDone(ctx)
}

// watch gives the states of one stream. It returns false when the caller left the loop, else what ended the stream.
func (f *following) watch(ctx context.Context, yield func(*footagepb.Job, error) bool) (bool, *Error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := f.client.Jobs.WatchJob(ctx, &footagepb.WatchJobRequest{JobId: f.seen.GetId(), AfterRevision: f.seen.GetRevision()})
	if err != nil {
		return true, fromCall(ctx, err)
	}
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			return true, fromCall(ctx, err)
		}
		f.patience.reset()
		job := response.GetJob()
		if job == nil || job.GetRevision() <= f.seen.GetRevision() {
			continue
		}
		f.seen = job
		if !f.show(yield) {
			return false, nil
		}
	}
}

func (f *following) show(yield func(*footagepb.Job, error) bool) bool {
	if f.onProgress != nil {
		f.onProgress(f.seen)
	}
	return yield(f.seen, nil)
}

func (f *following) cancelIfDone(ctx context.Context) error {
	if !f.cancels || ctx.Err() == nil || hasEnded(f.seen) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelTimeout)
	defer cancel()
	if _, err := cancelJob(ctx, f.client, f.seen.GetId()); err != nil {
		return fmt.Errorf("job %s was not cancelled: %w", f.seen.GetId(), err)
	}
	return nil
}

func cancelJob(ctx context.Context, client *Client, id string) (*footagepb.Job, error) {
	return client.Jobs.CancelJob(ctx, &footagepb.CancelJobRequest{JobId: id})
}

// hasEnded says whether the job is in one of the three states that never change.
func hasEnded(job *footagepb.Job) bool {
	switch job.GetState() {
	case footagepb.JobState_JOB_STATE_SUCCEEDED, footagepb.JobState_JOB_STATE_FAILED, footagepb.JobState_JOB_STATE_CANCELLED:
		return true
	default:
		return false
	}
}

// ProgressLine says how far a job is, in a line for people: `running · cutting · 44 % · 47.4 of 107.0 MB`.
func ProgressLine(job *footagepb.Job) string {
	progress := job.GetProgress()
	words := []string{strings.ToLower(strings.TrimPrefix(job.GetState().String(), "JOB_STATE_"))}
	if progress.GetPhase() != "" {
		words = append(words, progress.GetPhase())
	}
	if progress != nil && progress.Fraction != nil {
		words = append(words, fmt.Sprintf("%.0f %%", 100*progress.GetFraction()))
	}
	if progress.GetBytesTotal() > 0 {
		words = append(words, fmt.Sprintf("%.1f of %.1f MB", float64(progress.GetBytesDone())/1e6, float64(progress.GetBytesTotal())/1e6))
	}
	return strings.Join(words, " · ")
}
