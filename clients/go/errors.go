package footage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"heldar/footage/footagepb"
)

// What [errors.Is] compares an [*Error] with: one for each status code.
var (
	// The request is wrong; FieldViolations names every field at once.
	ErrInvalidArgument error = family(codes.InvalidArgument)
	// What was named does not exist, or there is no footage; see Resource.
	ErrNotFound error = family(codes.NotFound)
	// The id that was chosen is taken.
	ErrAlreadyExists error = family(codes.AlreadyExists)
	// Something has to be put right first.
	ErrFailedPrecondition error = family(codes.FailedPrecondition)
	// Somebody else changed it since it was read.
	ErrAborted error = family(codes.Aborted)
	// There is too much of something just now; see RetryAfter.
	ErrResourceExhausted error = family(codes.ResourceExhausted)
	// An offset past the end.
	ErrOutOfRange error = family(codes.OutOfRange)
	// The server is away or shuts down; call again after RetryAfter.
	ErrUnavailable error = family(codes.Unavailable)
	// A file is not what it was.
	ErrDataLoss error = family(codes.DataLoss)
	// The server does not have this method, or not yet.
	ErrUnimplemented error = family(codes.Unimplemented)
	// A fault of the server.
	ErrInternal error = family(codes.Internal)
	// No answer came in time; context.DeadlineExceeded is the same.
	ErrDeadlineExceeded error = family(codes.DeadlineExceeded)
	// The call was cancelled on this side, which is context.Canceled too; or a [*JobError] says that its job was cancelled.
	ErrCancelled error = family(codes.Canceled)
	// The token is missing or wrong.
	ErrUnauthenticated error = family(codes.Unauthenticated)
	// The token does not allow this.
	ErrPermissionDenied error = family(codes.PermissionDenied)
)

type family codes.Code

func (f family) Error() string { return codes.Code(f).String() }

// Error is a call that failed. What the server says about it is in its fields; [errors.Is] with ErrNotFound and the others
// tells its kind.
type Error struct {
	// The status code of gRPC.
	Code codes.Code
	// What happened, for people.
	Message string
	// Why, for programs: a name of footagepb.ErrorReason without its prefix, such as NO_FOOTAGE. Empty when something else
	// than the server failed. See [HasReason].
	Reason string
	// The namespace of the reason, footage.heldar.
	Domain string
	// More about the reason, such as job_id.
	Metadata map[string]string
	// Every field that is wrong.
	FieldViolations []FieldViolation
	// What the error is about; nil where it is not about a single thing.
	Resource *Resource
	// How long to wait before calling again; 0 when the server did not say.
	RetryAfter time.Duration
	// Everything the server added, as messages of google.rpc.
	Details []proto.Message

	status *status.Status
	cause  error
}

// FieldViolation is a field that is wrong: its path in the request, and what would be right.
type FieldViolation struct {
	Field       string
	Description string
}

// Resource is what an error is about, such as the camera that does not exist.
type Resource struct {
	Type string
	Name string
}

// Error returns the message, the reason, and which fields are wrong.
func (e *Error) Error() string {
	why := e.Reason
	if why == "" {
		why = e.Code.String()
	}
	for i, violation := range e.FieldViolations {
		if i == 0 {
			why += ": " + violation.Field
		} else {
			why += ", " + violation.Field
		}
	}
	if e.Message == "" {
		return why
	}
	return fmt.Sprintf("%s (%s)", e.Message, why)
}

// Is reports whether the target is the error's kind, such as ErrNotFound.
func (e *Error) Is(target error) bool {
	switch target {
	case context.Canceled:
		return e.Code == codes.Canceled && e.Reason == ""
	case context.DeadlineExceeded:
		return e.Code == codes.DeadlineExceeded
	}
	kind, is := target.(family)
	return is && codes.Code(kind) == e.Code
}

// Unwrap returns why the context of the call ended, where that made it fail.
func (e *Error) Unwrap() error { return e.cause }

// GRPCStatus is for packages that read errors of gRPC.
func (e *Error) GRPCStatus() *status.Status {
	if e.status == nil {
		return status.New(e.Code, e.Message)
	}
	return e.status
}

// JobError is a job that ended without a result: it failed, or somebody cancelled it. [errors.As] finds the [*Error] in it.
type JobError struct {
	// The job as it ended.
	Job *footagepb.Job
	// Why, with the same reasons as a failed call.
	Err *Error
}

// Error returns which job ended how.
func (e *JobError) Error() string {
	if e.Cancelled() {
		return fmt.Sprintf("job %s was cancelled", e.Job.GetId())
	}
	return fmt.Sprintf("job %s failed: %v", e.Job.GetId(), e.Err)
}

// Unwrap returns why.
func (e *JobError) Unwrap() error { return e.Err }

// Cancelled reports whether the job was cancelled, and did not fail.
func (e *JobError) Cancelled() bool {
	return e.Job.GetState() == footagepb.JobState_JOB_STATE_CANCELLED
}

// HasReason reports whether the server gave this reason for an error.
func HasReason(err error, reason footagepb.ErrorReason) bool {
	var failure *Error
	return errors.As(err, &failure) && failure.Reason == reasonName(reason)
}

func reasonName(reason footagepb.ErrorReason) string {
	return strings.TrimPrefix(reason.String(), "ERROR_REASON_")
}

// ErrorOf returns what a status inside an answer means, such as a warning of a job or the error of TestDestination.
func ErrorOf(inside *statuspb.Status) *Error {
	return fromStatus(status.FromProto(inside))
}

// fromCall returns what a failed call of gRPC means.
func fromCall(ctx context.Context, err error) *Error {
	var failure *Error
	if errors.As(err, &failure) {
		return failure
	}
	failed, known := status.FromError(err)
	if !known {
		failed = status.FromContextError(err)
	}
	failure = fromStatus(failed)
	if ctx.Err() != nil && (failure.Code == codes.Canceled || failure.Code == codes.DeadlineExceeded) {
		failure.cause = context.Cause(ctx)
	}
	return failure
}

func fromStatus(failed *status.Status) *Error {
	failure := &Error{Code: failed.Code(), Message: failed.Message(), status: failed}
	for _, detail := range failed.Details() {
		// A newer server may send types that are not known here.
		message, known := detail.(proto.Message)
		if !known {
			continue
		}
		failure.Details = append(failure.Details, message)
		switch detail := message.(type) {
		case *errdetails.ErrorInfo:
			failure.Reason, failure.Domain, failure.Metadata = detail.GetReason(), detail.GetDomain(), detail.GetMetadata()
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				failure.FieldViolations = append(failure.FieldViolations, FieldViolation{violation.GetField(), violation.GetDescription()})
			}
		case *errdetails.ResourceInfo:
			failure.Resource = &Resource{detail.GetResourceType(), detail.GetResourceName()}
		case *errdetails.RetryInfo:
			failure.RetryAfter = detail.GetRetryDelay().AsDuration()
		}
	}
	return failure
}

// fromJob returns why a job that ended has no result.
func fromJob(job *footagepb.Job) *JobError {
	if job.GetState() == footagepb.JobState_JOB_STATE_CANCELLED {
		return &JobError{job, &Error{
			Code:    codes.Canceled,
			Message: fmt.Sprintf("job %s was cancelled", job.GetId()),
			Reason:  reasonName(footagepb.ErrorReason_ERROR_REASON_CANCELLED),
		}}
	}
	return &JobError{job, ErrorOf(job.GetError())}
}

// badArgument is an argument of this package that is refused before any call.
func badArgument(field, description string) *Error {
	return &Error{
		Code:            codes.InvalidArgument,
		Message:         description,
		FieldViolations: []FieldViolation{{field, description}},
	}
}

// with adds what failed in cleaning up to an error, and leaves the error as it is where nothing did.
func with(err, further error) error {
	if further == nil {
		return err
	}
	return errors.Join(err, further)
}
