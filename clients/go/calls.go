package footage

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
)

// callOnce makes a call that has a single answer: with a deadline and a request id, and again while the server is away
// where that does no more than one call would.
func (s settings) callOnce(
	ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption,
) error {
	message := withRequestID(request.(proto.Message)) // Every method of the contract takes a message.
	limit := s.timeout + waitOf(message)
	if _, has := ctx.Deadline(); !has {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	// All attempts together have the time of one call.
	patience := patience{giveUpAt: time.Now().Add(limit)}
	for {
		err := invoke(ctx, method, message, reply, conn, options...)
		if err == nil {
			return nil
		}
		failure := fromCall(ctx, err)
		if failure.Code != codes.Unavailable || !isRepeatable(method, message) {
			return failure
		}
		if err := patience.pauseAfter(ctx, failure); err != nil {
			return err
		}
	}
}

// openStream opens a stream whose errors are typed.
func (s settings) openStream(
	ctx context.Context, description *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	stream, err := open(ctx, description, conn, method, options...)
	if err != nil {
		return nil, fromCall(ctx, err)
	}
	return typedStream{stream}, nil
}

type typedStream struct{ grpc.ClientStream }

func (t typedStream) SendMsg(message any) error { return t.typed(t.ClientStream.SendMsg(message)) }

func (t typedStream) RecvMsg(message any) error { return t.typed(t.ClientStream.RecvMsg(message)) }

func (t typedStream) typed(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return fromCall(t.Context(), err)
}

// withRequestID returns the request with a request_id, where it can have one and the caller gave none.
func withRequestID(request proto.Message) proto.Message {
	field := fieldNamed(request, "request_id")
	if field == nil || request.ProtoReflect().Get(field).String() != "" {
		return request
	}
	request = proto.Clone(request)
	request.ProtoReflect().Set(field, protoreflect.ValueOfString(uuid.NewString()))
	return request
}

// waitOf returns how long the request lets the server hold its answer.
func waitOf(request proto.Message) time.Duration {
	field := fieldNamed(request, "wait")
	if field == nil {
		return 0
	}
	wait, _ := request.ProtoReflect().Get(field).Message().Interface().(*durationpb.Duration)
	return max(wait.AsDuration(), 0)
}

// isRepeatable says whether a second call does no more than one: it only reads, or its request id tells the server.
func isRepeatable(method string, request proto.Message) bool {
	name := method[strings.LastIndex(method, "/")+1:]
	if strings.HasPrefix(name, "Get") || strings.HasPrefix(name, "List") {
		return true
	}
	field := fieldNamed(request, "request_id")
	return field != nil && request.ProtoReflect().Get(field).String() != ""
}

func fieldNamed(message proto.Message, name protoreflect.Name) protoreflect.FieldDescriptor {
	return message.ProtoReflect().Descriptor().Fields().ByName(name)
}
