package footage_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"heldar/footage"
	"heldar/footage/footagepb"
)

// standIn answers as a test wants it to: faults that the real server does not make on demand.
type standIn struct {
	footagepb.UnimplementedJobServiceServer
	footagepb.UnimplementedClipServiceServer
	footagepb.UnimplementedCatalogServiceServer

	// watch answers the call of WatchJob with this number, from 1 on.
	watch       func(call int, request *footagepb.WatchJobRequest, send func(revision int64, state footagepb.JobState)) error
	watches     atomic.Int32
	cancel      func() error
	createClip  func(ctx context.Context, call int, request *footagepb.CreateClipRequest) (*footagepb.Job, error)
	createClips atomic.Int32
	deleteClips atomic.Int32
	download    func(call int, offset int64, send func(*footagepb.DownloadClipResponse)) error
	downloads   atomic.Int32
	listCameras func(ctx context.Context) (*footagepb.ListCamerasResponse, error)
}

func (s *standIn) WatchJob(request *footagepb.WatchJobRequest, stream grpc.ServerStreamingServer[footagepb.WatchJobResponse]) error {
	call := int(s.watches.Add(1))
	return s.watch(call, request, func(revision int64, state footagepb.JobState) {
		_ = stream.Send(&footagepb.WatchJobResponse{Event: &footagepb.WatchJobResponse_Job{Job: jobAt(revision, state)}})
	})
}

func (s *standIn) CancelJob(context.Context, *footagepb.CancelJobRequest) (*footagepb.Job, error) {
	return jobAt(9, footagepb.JobState_JOB_STATE_CANCELLING), s.cancel()
}

func (s *standIn) CreateClip(ctx context.Context, request *footagepb.CreateClipRequest) (*footagepb.Job, error) {
	call := int(s.createClips.Add(1))
	return s.createClip(ctx, call, request)
}

func (s *standIn) DeleteClip(context.Context, *footagepb.DeleteClipRequest) (*footagepb.DeleteClipResponse, error) {
	s.deleteClips.Add(1)
	return nil, away(0)
}

func (s *standIn) DownloadClip(request *footagepb.DownloadClipRequest, stream grpc.ServerStreamingServer[footagepb.DownloadClipResponse]) error {
	call := int(s.downloads.Add(1))
	return s.download(call, request.GetOffsetBytes(), func(response *footagepb.DownloadClipResponse) { _ = stream.Send(response) })
}

func (s *standIn) ListCameras(ctx context.Context, _ *footagepb.ListCamerasRequest) (*footagepb.ListCamerasResponse, error) {
	return s.listCameras(ctx)
}

func jobAt(revision int64, state footagepb.JobState) *footagepb.Job {
	return &footagepb.Job{
		Id: "job_1", Revision: revision, State: state,
		Result: &footagepb.Job_Clip{Clip: &footagepb.Clip{Id: "clip_1"}},
	}
}

// The states that the stand-in sends.
const (
	queued    = footagepb.JobState_JOB_STATE_QUEUED
	runs      = footagepb.JobState_JOB_STATE_RUNNING
	succeeded = footagepb.JobState_JOB_STATE_SUCCEEDED
)

// away is what a server says that shuts down; without a time it is what a connection says that broke.
func away(retryAfter time.Duration) error {
	if retryAfter == 0 {
		return status.Error(codes.Unavailable, "broken")
	}
	return failed(codes.Unavailable, "DRAINING", &errdetails.RetryInfo{RetryDelay: durationpb.New(retryAfter)})
}

// failed is an error of the server, with its reason.
func failed(code codes.Code, reason string, further ...protoadapt.MessageV1) error {
	details := append([]protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: reason, Domain: "footage.heldar"}}, further...)
	made, err := status.New(code, "it did not work").WithDetails(details...)
	if err != nil {
		panic(err)
	}
	return made.Err()
}

// inBubble runs a test of a client and a stand-in in memory, where time passes only while both wait.
func inBubble(t *testing.T, s *standIn, test func(t *testing.T, client *footage.Client), options ...footage.Option) {
	synctest.Test(t, func(t *testing.T) {
		listener := bufconn.Listen(1 << 20)
		// As the real server, it lets clients ask for a sign of life as often as they like.
		server := grpc.NewServer(grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second}))
		footagepb.RegisterJobServiceServer(server, s)
		footagepb.RegisterClipServiceServer(server, s)
		footagepb.RegisterCatalogServiceServer(server, s)
		go func() { _ = server.Serve(listener) }()
		defer server.Stop()
		dial := func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }
		client, err := footage.New("127.0.0.1:1", append(options, footage.WithDialOptions(grpc.WithContextDialer(dial)))...)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		test(t, client)
	})
}

func TestAStreamThatEndsEarlyIsTakenUpAfterTheLastRevision(t *testing.T) {
	var after []int64
	s := &standIn{watch: func(call int, request *footagepb.WatchJobRequest, send func(int64, footagepb.JobState)) error {
		after = append(after, request.GetAfterRevision())
		switch call {
		case 1:
			send(2, runs)
			return nil
		case 2:
			return away(3 * time.Second)
		case 3:
			// What was seen before comes again, as from a server that does not know what was seen.
			send(1, queued)
			send(2, runs)
			send(5, runs)
			return status.Error(codes.Internal, "a stream that was reset")
		default:
			send(6, succeeded)
			return nil
		}
	}}
	inBubble(t, s, func(t *testing.T, client *footage.Client) {
		began := time.Now()
		var revisions []int64
		for state, err := range client.FollowJob(jobAt(1, queued)).States(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			revisions = append(revisions, state.GetRevision())
		}
		if !slices.Equal(revisions, []int64{1, 2, 5, 6}) || !slices.Equal(after, []int64{1, 2, 2, 5}) {
			t.Errorf("the states %v came after %v", revisions, after)
		}
		if took := time.Since(began); took < 3*time.Second || took > 4*time.Second {
			t.Errorf("the server asked for three seconds, and %v passed", took)
		}
	})
}

func TestAServerThatStaysAwayIsGivenUpWhenPatienceEnds(t *testing.T) {
	s := &standIn{watch: func(int, *footagepb.WatchJobRequest, func(int64, footagepb.JobState)) error { return away(0) }}
	inBubble(t, s, func(t *testing.T, client *footage.Client) {
		began := time.Now()
		_, err := client.FollowJob(jobAt(1, queued)).Result(t.Context())
		if took := time.Since(began); !errors.Is(err, footage.ErrUnavailable) || took < 110*time.Second || took > 120*time.Second {
			t.Errorf("after %v: %v", took, err)
		}
		// Pauses of 0.1, 0.2, … up to 5 s, each shortened by up to a half.
		if s.watches.Load() < 24 || s.watches.Load() > 60 {
			t.Errorf("the server was called %d times", s.watches.Load())
		}
	})
}

func TestPatienceBeginsAnewWithEachSignOfLife(t *testing.T) {
	s := &standIn{}
	s.watch = func(call int, _ *footagepb.WatchJobRequest, send func(int64, footagepb.JobState)) error {
		if call == 40 {
			send(2, succeeded)
			return nil
		}
		send(1, runs)
		return away(4 * time.Second)
	}
	inBubble(t, s, func(t *testing.T, client *footage.Client) {
		if _, err := client.FollowJob(jobAt(1, queued)).Result(t.Context()); err != nil {
			t.Error(err)
		}
	}, footage.WithPatience(5*time.Second))
}

func TestWhatTheServerMeansIsNotTriedAgain(t *testing.T) {
	s := &standIn{watch: func(int, *footagepb.WatchJobRequest, func(int64, footagepb.JobState)) error {
		return failed(codes.Internal, "INTERNAL")
	}}
	inBubble(t, s, func(t *testing.T, client *footage.Client) {
		_, err := client.FollowJob(jobAt(1, queued)).Result(t.Context())
		if !errors.Is(err, footage.ErrInternal) || s.watches.Load() != 1 {
			t.Errorf("after %d calls: %v", s.watches.Load(), err)
		}
	})
}

func TestAClientThatIsClosedGivesUpAtOnce(t *testing.T) {
	s := &standIn{}
	inBubble(t, s, func(t *testing.T, client *footage.Client) {
		_ = client.Close()
		began := time.Now()
		if _, err := client.FollowJob(jobAt(1, queued)).Result(t.Context()); !errors.Is(err, footage.ErrCancelled) || time.Since(began) > 0 {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

func TestAJobThatCouldNotBeCancelledIsTold(t *testing.T) {
	s := &standIn{
		watch: func(_ int, _ *footagepb.WatchJobRequest, send func(int64, footagepb.JobState)) error {
			send(2, runs)
			return away(time.Minute)
		},
		cancel: func() error { return failed(codes.FailedPrecondition, "JOB_STATE") },
	}
	inBubble(t, s, func(t *testing.T, client *footage.Client) {
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		_, err := client.FollowJob(jobAt(1, queued)).Result(ctx, footage.CancelWithContext(), footage.OnProgress(func(job *footagepb.Job) {
			if job.GetRevision() == 2 {
				cancel()
			}
		}))
		if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "job job_1 was not cancelled: it did not work (JOB_STATE)") {
			t.Errorf("following ended with %v", err)
		}
	})
}

func TestACallIsRepeatedWithOneRequestIDWhileTheServerIsAway(t *testing.T) {
	var ids []string
	s := &standIn{createClip: func(_ context.Context, call int, request *footagepb.CreateClipRequest) (*footagepb.Job, error) {
		ids = append(ids, request.GetRequestId())
		if call < 3 {
			return nil, away(2 * time.Second)
		}
		return jobAt(1, succeeded), nil
	}}
	inBubble(t, s, func(t *testing.T, client *footage.Client) {
		began := time.Now()
		request := &footagepb.CreateClipRequest{CameraId: "gate_a_01"}
		job, err := client.CreateClip(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		if clip, err := job.Result(t.Context()); err != nil || clip.GetId() != "clip_1" {
			t.Errorf("the job ended with %v, %v", clip, err)
		}
		if len(ids) != 3 || len(ids[0]) != 36 || ids[0] != ids[1] || ids[1] != ids[2] || request.GetRequestId() != "" {
			t.Errorf("the request ids were %v", ids)
		}
		if took := time.Since(began); took < 4*time.Second || took > 5*time.Second {
			t.Errorf("the server asked for two seconds, twice, and %v passed", took)
		}
		ids = nil
		request.RequestId = "01a220ec-1ab4-7747-afd8-96b7169cb901"
		if _, err := client.CreateClip(t.Context(), request); err != nil || ids[0] != request.GetRequestId() {
			t.Errorf("the caller's id became %v, %v", ids, err)
		}
	})
}

func TestACallThatWouldDoSomethingTwiceIsNotRepeated(t *testing.T) {
	s := &standIn{}
	inBubble(t, s, func(t *testing.T, client *footage.Client) {
		_, err := client.Clips.DeleteClip(t.Context(), &footagepb.DeleteClipRequest{ClipId: "clip_1"})
		if !errors.Is(err, footage.ErrUnavailable) || s.deleteClips.Load() != 1 {
			t.Errorf("after %d calls: %v", s.deleteClips.Load(), err)
		}
	})
}

func TestRepeatingEndsWithTheTimeOfOneCall(t *testing.T) {
	s := &standIn{createClip: func(context.Context, int, *footagepb.CreateClipRequest) (*footagepb.Job, error) { return nil, away(0) }}
	inBubble(t, s, func(t *testing.T, client *footage.Client) {
		for limit, ctx := range map[time.Duration]func() (context.Context, context.CancelFunc){
			// The time of one call, and the wait of the request.
			40 * time.Second: func() (context.Context, context.CancelFunc) { return context.WithCancel(t.Context()) },
			10 * time.Second: func() (context.Context, context.CancelFunc) { return context.WithTimeout(t.Context(), 10*time.Second) },
		} {
			ctx, cancel := ctx()
			began := time.Now()
			_, err := client.CreateClip(ctx, &footagepb.CreateClipRequest{Wait: durationpb.New(10 * time.Second)})
			cancel()
			if took := time.Since(began); !errors.Is(err, footage.ErrUnavailable) || took < limit-6*time.Second || took > limit {
				t.Errorf("after %v of %v: %v", took, limit, err)
			}
		}
	})
}

func TestACallWithoutAnAnswerEndsAtItsDeadline(t *testing.T) {
	s := &standIn{
		createClip: func(ctx context.Context, _ int, _ *footagepb.CreateClipRequest) (*footagepb.Job, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
	}
	inBubble(t, s, func(t *testing.T, client *footage.Client) {
		began := time.Now()
		_, err := client.CreateClip(t.Context(), &footagepb.CreateClipRequest{Wait: durationpb.New(50 * time.Second)})
		if took := time.Since(began); took != 57*time.Second {
			t.Errorf("the call took %v", took)
		}
		if !errors.Is(err, footage.ErrDeadlineExceeded) || !errors.Is(err, context.DeadlineExceeded) || status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("the call ended with %v", err)
		}
		// A context with a deadline of its own has its own way, also when that is later.
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
		defer cancel()
		began = time.Now()
		if _, err := client.CreateClip(ctx, &footagepb.CreateClipRequest{}); !errors.Is(err, footage.ErrDeadlineExceeded) || time.Since(began) != 100*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	}, footage.WithTimeout(7*time.Second))
}

func TestTheTokenGoesWithEachCall(t *testing.T) {
	var heard []string
	s := &standIn{listCameras: func(ctx context.Context) (*footagepb.ListCamerasResponse, error) {
		incoming, _ := metadata.FromIncomingContext(ctx)
		heard = incoming.Get("authorization")
		return &footagepb.ListCamerasResponse{}, nil
	}}
	inBubble(t, s, func(t *testing.T, client *footage.Client) {
		for range client.Cameras(t.Context()) {
			t.Error("there is no camera")
		}
	}, footage.WithToken("secret"))
	if !slices.Equal(heard, []string{"Bearer secret"}) {
		t.Errorf("the server heard %v", heard)
	}
}

func TestAPlanIsNoJobToFollow(t *testing.T) {
	inBubble(t, &standIn{}, func(t *testing.T, client *footage.Client) {
		_, err := client.CreateClip(t.Context(), &footagepb.CreateClipRequest{ValidateOnly: true})
		if !errors.Is(err, footage.ErrInvalidArgument) {
			t.Errorf("the call ended with %v", err)
		}
		_, err = client.CreateArchive(t.Context(), &footagepb.CreateArchiveRequest{ValidateOnly: true})
		if !errors.Is(err, footage.ErrInvalidArgument) {
			t.Errorf("the call ended with %v", err)
		}
	})
}

func TestDetailsThatAreNotKnownAreLeftOut(t *testing.T) {
	info, err := anypb.New(&errdetails.ErrorInfo{Reason: "NEWER", Domain: "footage.heldar"})
	if err != nil {
		t.Fatal(err)
	}
	found := footage.ErrorOf(&statuspb.Status{Code: int32(codes.Aborted), Message: "something new", Details: []*anypb.Any{
		{TypeUrl: "type.googleapis.com/heldar.footage.v9.Unheard", Value: []byte{1}}, info,
	}})
	if found.Reason != "NEWER" || len(found.Details) != 1 || found.Error() != "something new (NEWER)" || !errors.Is(found, footage.ErrAborted) {
		t.Errorf("the error is %#v", found)
	}
}

func TestProgressIsALineForPeople(t *testing.T) {
	fraction := 0.444
	for expected, job := range map[string]*footagepb.Job{
		"running · cutting · 44 % · 47.4 of 107.0 MB": {State: runs, Progress: &footagepb.JobProgress{
			Phase: "cutting", Fraction: &fraction, BytesDone: 47_400_000, BytesTotal: 107_000_000,
		}},
		"queued": {State: queued},
	} {
		if line := footage.ProgressLine(job); line != expected {
			t.Errorf("%q is not %q", line, expected)
		}
	}
}

func TestAnAddressThatIsNoneIsRefused(t *testing.T) {
	for _, address := range []string{"", "127.0.0.1", ":50051", "host:", "ftp://host:1", "http://host:1/path", "https://host/path"} {
		if client, err := footage.New(address); !errors.Is(err, footage.ErrInvalidArgument) {
			t.Errorf("%q gave %v, %v", address, client, err)
		}
	}
	for _, address := range []string{"host:50051", "http://host:50051/", "https://host", "https://host:1", "[::1]:50051", "https://[::1]"} {
		client, err := footage.New(address)
		if err != nil {
			t.Errorf("%q: %v", address, err)
			continue
		}
		_ = client.Close()
	}
	if _, err := footage.New("host:1", footage.WithTimeout(0)); !errors.Is(err, footage.ErrInvalidArgument) {
		t.Errorf("no time gave %v", err)
	}
	if _, err := footage.New("host:1", footage.WithPatience(-1)); !errors.Is(err, footage.ErrInvalidArgument) {
		t.Errorf("no patience gave %v", err)
	}
}
