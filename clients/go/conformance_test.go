package footage_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"heldar/footage"
	"heldar/footage/footagepb"
)

// table is clients/conformance/cases.json: the cases that every client must see alike.
type table struct {
	Servers  map[string]map[string]string
	Domain   string
	Families map[string]string
	Cases    []struct {
		Name   string
		Server string
		Steps  []map[string]any
	}
}

var families = map[string]error{
	"InvalidArgument":    footage.ErrInvalidArgument,
	"NotFound":           footage.ErrNotFound,
	"AlreadyExists":      footage.ErrAlreadyExists,
	"FailedPrecondition": footage.ErrFailedPrecondition,
	"Aborted":            footage.ErrAborted,
	"ResourceExhausted":  footage.ErrResourceExhausted,
	"OutOfRange":         footage.ErrOutOfRange,
	"Unavailable":        footage.ErrUnavailable,
	"DataLoss":           footage.ErrDataLoss,
	"Unimplemented":      footage.ErrUnimplemented,
	"Internal":           footage.ErrInternal,
	"DeadlineExceeded":   footage.ErrDeadlineExceeded,
	"Cancelled":          footage.ErrCancelled,
	"Unauthenticated":    footage.ErrUnauthenticated,
	"PermissionDenied":   footage.ErrPermissionDenied,
}

func TestConformance(t *testing.T) {
	t.Parallel()
	var cases table
	if err := json.Unmarshal(mustRead(t, clients("conformance/cases.json")), &cases); err != nil {
		t.Fatal(err)
	}
	servers := map[string]*server{}
	for name, settings := range cases.Servers {
		var lines []string
		for key, value := range settings {
			lines = append(lines, key+"="+value)
		}
		servers[name] = startServer(t, lines...)
	}
	for _, c := range cases.Cases {
		t.Run(c.Name, func(t *testing.T) {
			on := servers[c.Server]
			client := on.client(t)
			saved := map[string]string{"site": on.folder}
			for _, step := range c.Steps {
				cases.run(t, client, fill(step, saved).(map[string]any), saved)
			}
		})
	}
}

func TestEveryFamilyHasAKindOfError(t *testing.T) {
	var cases table
	if err := json.Unmarshal(mustRead(t, clients("conformance/cases.json")), &cases); err != nil {
		t.Fatal(err)
	}
	if found, expected := slices.Sorted(maps.Keys(families)), slices.Sorted(maps.Values(cases.Families)); !slices.Equal(found, expected) {
		t.Errorf("the kinds are %v, not %v", found, expected)
	}
}

func (c *table) run(t *testing.T, client *footage.Client, step map[string]any, saved map[string]string) {
	t.Helper()
	if jobID, follows := step["follow"].(string); follows {
		c.follow(t, client, jobID, step)
		return
	}
	if path, truncates := step["truncate"].(string); truncates {
		if err := os.Truncate(path, 1); err != nil {
			t.Fatal(err)
		}
		return
	}
	method := step["method"].(string)
	requests, streams := step["requests"].([]any)
	if !streams {
		requests = []any{step["request"]}
	}
	stream, _ := step["stream"].(map[string]any)
	leaveAfter, _ := stream["leaveAfter"].(float64)
	messages, err := call(t, client.Conn(), method, requests, int(leaveAfter))
	if expected, fails := step["error"].(map[string]any); fails {
		c.checkError(t, expected, err)
		return
	}
	if err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	if stream != nil {
		checkStream(t, stream, messages)
	} else {
		checkWithin(t, step["response"], messages[0], "response")
	}
	names, _ := step["save"].(map[string]any)
	for name, path := range names {
		saved[name] = textAt(messages[0], path.(string))
	}
}

// follow follows a job by the helper, and holds how it ended.
func (c *table) follow(t *testing.T, client *footage.Client, jobID string, step map[string]any) {
	t.Helper()
	running, err := client.Follow(soon(t), jobID)
	if err != nil {
		t.Fatal(err)
	}
	job, err := running.Result(soon(t))
	var ended *footage.JobError
	if expected, fails := step["error"].(map[string]any); fails {
		if !errors.As(err, &ended) || ended.Cancelled() || ended.Job.GetId() != jobID {
			t.Fatalf("the job ended with %v, not with %v", err, expected)
		}
		c.checkError(t, expected, err)
		return
	}
	if _, cancelled := step["cancelled"]; cancelled {
		if !errors.As(err, &ended) || !ended.Cancelled() || !footage.HasReason(err, footagepb.ErrorReason_ERROR_REASON_CANCELLED) {
			t.Errorf("the job ended with %v, and was not cancelled", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	expected, warnings := step["warnings"].([]any), job.GetWarnings()
	if len(warnings) != len(expected) {
		t.Fatalf("the warnings are %v, not %v", warnings, expected)
	}
	for i, warning := range warnings {
		c.checkError(t, expected[i].(map[string]any), footage.ErrorOf(warning))
	}
}

// call makes a call of any shape and returns its messages in the JSON form of proto3.
func call(t *testing.T, conn grpc.ClientConnInterface, method string, requests []any, leaveAfter int) ([]any, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	described, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(strings.ReplaceAll(method, "/", ".")))
	if err != nil {
		t.Fatal(err)
	}
	shape := described.(protoreflect.MethodDescriptor)
	if !shape.IsStreamingClient() && !shape.IsStreamingServer() {
		reply := newMessage(t, shape.Output())
		if err := conn.Invoke(ctx, "/"+method, asMessage(t, shape.Input(), requests[0]), reply); err != nil {
			return nil, err
		}
		return []any{asJSON(t, reply)}, nil
	}
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/"+method)
	if err != nil {
		return nil, err
	}
	for _, request := range requests {
		if err := stream.SendMsg(asMessage(t, shape.Input(), request)); err != nil {
			t.Fatal(err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	var messages []any
	for leaveAfter == 0 || len(messages) < leaveAfter {
		message := newMessage(t, shape.Output())
		if err := stream.RecvMsg(message); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		messages = append(messages, asJSON(t, message))
	}
	return messages, nil
}

func newMessage(t *testing.T, described protoreflect.MessageDescriptor) proto.Message {
	t.Helper()
	kind, err := protoregistry.GlobalTypes.FindMessageByName(described.FullName())
	if err != nil {
		t.Fatal(err)
	}
	return kind.New().Interface()
}

func asMessage(t *testing.T, described protoreflect.MessageDescriptor, value any) proto.Message {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	message := newMessage(t, described)
	if err := protojson.Unmarshal(text, message); err != nil {
		t.Fatal(err)
	}
	return message
}

func asJSON(t *testing.T, message proto.Message) any {
	t.Helper()
	text, err := protojson.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		t.Fatal(err)
	}
	return value
}

// fill replaces each ${name} by what was saved under the name.
func fill(value any, saved map[string]string) any {
	switch value := value.(type) {
	case string:
		for name, text := range saved {
			value = strings.ReplaceAll(value, "${"+name+"}", text)
		}
		return value
	case []any:
		filled := make([]any, len(value))
		for i, item := range value {
			filled[i] = fill(item, saved)
		}
		return filled
	case map[string]any:
		filled := map[string]any{}
		for key, item := range value {
			filled[key] = fill(item, saved)
		}
		return filled
	}
	return value
}

// checkWithin holds that everything expected is found; a default may be absent, and what is not expected may be there.
func checkWithin(t *testing.T, expected, found any, where string) {
	t.Helper()
	if found == nil && isDefault(expected) {
		return
	}
	switch expected := expected.(type) {
	case map[string]any:
		fields, is := found.(map[string]any)
		if !is {
			t.Errorf("%s: %v", where, found)
		}
		for key, value := range expected {
			checkWithin(t, value, fields[key], where+"."+key)
		}
	case []any:
		items, is := found.([]any)
		if !is || len(items) != len(expected) {
			t.Errorf("%s: %v has not the length of %v", where, found, expected)
			return
		}
		for i, value := range expected {
			checkWithin(t, value, items[i], fmt.Sprintf("%s[%d]", where, i))
		}
	default:
		if !reflect.DeepEqual(found, expected) {
			t.Errorf("%s: %v is not %v", where, found, expected)
		}
	}
}

func isDefault(value any) bool {
	switch value := value.(type) {
	case nil:
		return true
	case []any:
		return len(value) == 0
	case map[string]any:
		return len(value) == 0
	}
	return value == false || value == "" || value == 0.0 || value == "0"
}

func textAt(message any, path string) string {
	for _, key := range strings.Split(path, ".") {
		message = message.(map[string]any)[key]
	}
	return fmt.Sprint(message)
}

func checkStream(t *testing.T, expected map[string]any, messages []any) {
	t.Helper()
	if all, named := expected["messages"].([]any); named {
		checkWithin(t, all, messages, "messages")
	}
	if first, named := expected["first"]; named {
		checkWithin(t, first, messages[0], "first")
	}
	if last, named := expected["last"]; named {
		checkWithin(t, last, messages[len(messages)-1], "last")
	}
	var content []byte
	for _, message := range messages {
		data, _ := message.(map[string]any)["data"].(string)
		decoded, err := base64.StdEncoding.DecodeString(data)
		if err != nil {
			t.Fatal(err)
		}
		content = append(content, decoded...)
	}
	if size, named := expected["bytes"]; named && fmt.Sprint(len(content)) != size {
		t.Errorf("%d bytes came, not %v", len(content), size)
	}
	if hash, named := expected["sha256"]; named {
		if found := sha256.Sum256(content); hex.EncodeToString(found[:]) != hash {
			t.Errorf("the bytes have not the SHA-256 %v", hash)
		}
	}
}

func (c *table) checkError(t *testing.T, expected map[string]any, err error) {
	t.Helper()
	var found *footage.Error
	if !errors.As(err, &found) {
		t.Fatalf("the call ended with %v, not with %v", err, expected)
	}
	var code codes.Code
	if err := code.UnmarshalJSON([]byte(`"` + expected["code"].(string) + `"`)); err != nil {
		t.Fatal(err)
	}
	if found.Code != code || found.Reason != expected["reason"] || found.Domain != c.Domain || found.Message == "" {
		t.Errorf("%#v is not %v", found, expected)
	}
	for name, kind := range families {
		if errors.Is(err, kind) != (name == c.Families[expected["code"].(string)]) {
			t.Errorf("%v is wrong about being an error of the kind %s", err, name)
		}
	}
	types := map[string]any{"ErrorInfo": nil}
	for _, name := range expected["details"].([]any) {
		types[name.(string)] = nil
	}
	for _, detail := range found.Details {
		name := string(detail.ProtoReflect().Descriptor().Name())
		if _, named := types[name]; !named {
			t.Errorf("nobody expected the detail %s", name)
		}
		delete(types, name)
	}
	if len(types) > 0 {
		t.Errorf("these details are missing: %v", types)
	}
	if message, named := expected["message"]; named && found.Message != message {
		t.Errorf("%q is not %q", found.Message, message)
	}
	checkFields(t, expected, found)
}

// checkFields holds what the details say.
func checkFields(t *testing.T, expected map[string]any, found *footage.Error) {
	t.Helper()
	if paths, named := expected["fieldViolations"].([]any); named {
		var fields []any
		for _, violation := range found.FieldViolations {
			if violation.Description == "" {
				t.Errorf("nothing says what is wrong with %s", violation.Field)
			}
			fields = append(fields, violation.Field)
		}
		if !slices.Equal(fields, paths) {
			t.Errorf("the fields are %v, not %v", fields, paths)
		}
	}
	if resource, named := expected["resource"].(map[string]any); named {
		if found.Resource == nil || found.Resource.Type != resource["type"] || found.Resource.Name != resource["name"] {
			t.Errorf("the resource is %v, not %v", found.Resource, resource)
		}
	}
	if asked, named := expected["retryAfter"].(string); named {
		if delay, err := time.ParseDuration(asked); err != nil || found.RetryAfter != delay {
			t.Errorf("the time to wait is %v, not %s", found.RetryAfter, asked)
		}
	}
	metadata, _ := expected["metadata"].(map[string]any)
	if len(found.Metadata) != len(metadata) {
		t.Errorf("the metadata are %v, not %v", found.Metadata, metadata)
	}
	for key, value := range metadata {
		if found.Metadata[key] != value {
			t.Errorf("the metadata are %v, not %v", found.Metadata, metadata)
		}
	}
}
