package footage_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"heldar/footage"
	"heldar/footage/footagepb"
)

var beginning = time.Date(2026, 11, 22, 13, 0, 0, 0, time.UTC)

func at(seconds float64) *timestamppb.Timestamp {
	return timestamppb.New(beginning.Add(time.Duration(seconds * float64(time.Second))))
}

func makeClip(t testing.TB, client *footage.Client, camera string, from, to float64) *footagepb.Clip {
	t.Helper()
	job, err := client.CreateClip(soon(t), &footagepb.CreateClipRequest{CameraId: camera, StartTime: at(from), EndTime: at(to)})
	if err != nil {
		t.Fatal(err)
	}
	clip, err := job.Result(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	return clip
}

// allFootage is an archive of everything, made once.
var allFootage struct {
	sync.Once
	archive *footagepb.Archive
}

func archiveOfAll(t testing.TB, client *footage.Client) *footagepb.Archive {
	t.Helper()
	allFootage.Do(func() {
		job, err := client.CreateArchive(soon(t), &footagepb.CreateArchiveRequest{Spec: &footagepb.ArchiveSpec{}})
		if err != nil {
			t.Fatal(err)
		}
		if allFootage.archive, err = job.Result(soon(t)); err != nil {
			t.Fatal(err)
		}
	})
	return allFootage.archive
}

// slowDestination makes a destination to which all footage takes a while.
func slowDestination(t testing.TB, client *footage.Client, s *server, bytesPerSecond int64) string {
	t.Helper()
	folder, err := os.MkdirTemp(filepath.Join(s.folder, "backups"), "slow-")
	if err != nil {
		t.Fatal(err)
	}
	transfers := int32(1)
	destination, err := client.Backups.CreateDestination(soon(t), &footagepb.CreateDestinationRequest{
		Destination: &footagepb.Destination{
			BandwidthLimitBytesPerSecond: bytesPerSecond,
			Transfers:                    &transfers,
			Settings:                     &footagepb.Destination_Local{Local: &footagepb.LocalSettings{Path: folder}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return destination.GetId()
}

func slowJob(t testing.TB, client *footage.Client, s *server, bytesPerSecond int64) *footagepb.Job {
	t.Helper()
	job, err := client.Backups.CreateBackup(soon(t), &footagepb.CreateBackupRequest{
		DestinationId: slowDestination(t, client, s, bytesPerSecond),
	})
	if err != nil {
		t.Fatal(err)
	}
	return job
}

func sha256Of(t testing.TB, path string) string {
	t.Helper()
	sum := sha256.Sum256(mustRead(t, path))
	return hex.EncodeToString(sum[:])
}

func TestAClipIsMadeFollowedAndSavedWithItsHash(t *testing.T) {
	client := sharedServer(t).client(t)
	job, err := client.CreateClip(soon(t), &footagepb.CreateClipRequest{
		CameraId: "gate_a_01", StartTime: at(3.2), EndTime: at(8.1), Labels: map[string]string{"Straße": "東京"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var revisions []int64
	clip, err := job.Result(soon(t), footage.OnProgress(func(state *footagepb.Job) { revisions = append(revisions, state.GetRevision()) }))
	if err != nil {
		t.Fatal(err)
	}
	if clip.GetLabels()["Straße"] != "東京" {
		t.Errorf("the labels are %v", clip.GetLabels())
	}
	if distinct := slices.Compact(slices.Sorted(slices.Values(revisions))); !slices.Equal(revisions, distinct) {
		t.Errorf("the revisions came as %v", revisions)
	}
	if line := footage.ProgressLine(job.State()); !strings.HasPrefix(line, "succeeded") {
		t.Errorf("the last state is %q", line)
	}
	if job.State().GetRequestId() == "" {
		t.Error("the client chose no request id")
	}
	folder := t.TempDir()
	var received, total int64
	path, err := client.DownloadClip(soon(t), clip, folder, footage.OnBytes(func(r, t int64) { received, total = r, t }))
	if err != nil {
		t.Fatal(err)
	}
	if received != clip.GetSizeBytes() || total != clip.GetSizeBytes() {
		t.Errorf("%d of %d bytes came of %d", received, total, clip.GetSizeBytes())
	}
	if path != filepath.Join(folder, clip.GetFileName()) || sha256Of(t, path) != clip.GetSha256() {
		t.Errorf("%s is not the clip", path)
	}
	if names := namesIn(t, folder); names != "["+clip.GetFileName()+"]" {
		t.Errorf("the folder has %s", names)
	}
}

func TestAnArchiveOfThreeCamerasIsSavedUnderANameOfOnesOwn(t *testing.T) {
	client := sharedServer(t).client(t)
	job, err := client.CreateArchive(soon(t), &footagepb.CreateArchiveRequest{Spec: &footagepb.ArchiveSpec{
		CameraIds: []string{"gate_a_01", "yard_02", "lobby_03"}, StartTime: at(0), EndTime: at(10), CaseId: "117",
	}})
	if err != nil {
		t.Fatal(err)
	}
	archive, err := job.Result(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	if archive.GetSpec().GetCaseId() != "117" || len(archive.GetCameras()) != 3 {
		t.Errorf("the archive is %v", archive)
	}
	path, err := client.DownloadArchive(soon(t), archive, filepath.Join(t.TempDir(), "evidence.zip"))
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Base(path) != "evidence.zip" || sha256Of(t, path) != archive.GetSha256() {
		t.Errorf("%s is not the archive", path)
	}
}

func TestEveryCameraIsListed(t *testing.T) {
	client := sharedServer(t).client(t)
	found := map[string]bool{}
	for camera, err := range client.Cameras(soon(t)) {
		if err != nil {
			t.Fatal(err)
		}
		found[camera.GetId()] = true
	}
	if !found["gate_a_01"] || !found["yard_02"] || !found["lobby_03"] {
		t.Errorf("the cameras are %v", found)
	}
}

func TestAJobIsFollowedThroughStreamsThatBreak(t *testing.T) {
	s := sharedServer(t)
	proxy := newProxy(t, s.address)
	through := newClient(t, proxy.address())
	job := through.FollowJob(slowJob(t, s.client(t), s, 3_000_000))
	var revisions []int64
	for state, err := range job.States(soon(t)) {
		if err != nil {
			t.Fatal(err)
		}
		revisions = append(revisions, state.GetRevision())
		if len(revisions) == 2 || len(revisions) == 4 {
			proxy.cut()
		}
	}
	if distinct := slices.Compact(slices.Sorted(slices.Values(revisions))); !slices.Equal(revisions, distinct) {
		t.Errorf("the revisions came as %v", revisions)
	}
	if proxy.accepted() != 3 {
		t.Errorf("%d connections were made", proxy.accepted())
	}
	ended, err := job.Result(soon(t))
	if err != nil || ended.GetBackup().GetFilesSent() != 17 {
		t.Errorf("the job ended as %v with %v", ended, err)
	}
}

func TestAJobIsFollowedThroughARestartOfTheServer(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	client := s.client(t)
	job := client.FollowJob(slowJob(t, client, s, 3_000_000))
	var restarting sync.WaitGroup
	restarted := false
	for state, err := range job.States(soon(t)) {
		if err != nil {
			t.Fatal(err)
		}
		if !restarted && state.GetProgress().GetBytesDone() > 0 {
			restarted = true
			restarting.Go(func() {
				s.stop()
				s.start(t, s.address)
			})
		}
	}
	restarting.Wait()
	ended, err := job.Result(soon(t))
	if err != nil || ended.GetBackup().GetFilesSelected() != 17 || !restarted {
		t.Errorf("the job ended as %v with %v", ended, err)
	}
}

func TestAStreamOfAServerThatShutsDownEndsWithTheTimeToWait(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	stream, err := s.client(t).Jobs.WatchJobs(soon(t), &footagepb.WatchJobsRequest{})
	for err == nil {
		var response *footagepb.WatchJobsResponse
		if response, err = stream.Recv(); response.GetSnapshotEnd() != nil {
			s.terminate()
		}
	}
	var failure *footage.Error
	if !errors.As(err, &failure) || failure.RetryAfter != time.Second {
		t.Fatalf("the stream ended with %#v", err)
	}
	if !errors.Is(err, footage.ErrUnavailable) || !footage.HasReason(err, footagepb.ErrorReason_ERROR_REASON_DRAINING) {
		t.Errorf("the stream ended with %v", err)
	}
}

func TestACallThatBreaksIsRepeatedAndMakesOneJob(t *testing.T) {
	s := sharedServer(t)
	client := s.client(t)
	proxy := newProxy(t, s.address)
	through := newClient(t, proxy.address())
	labels := map[string]string{"test": "repeated"}
	request := &footagepb.CreateBackupRequest{
		DestinationId: slowDestination(t, client, s, 3_000_000), Wait: durationpb.New(30 * time.Second), Labels: labels,
	}
	cut := make(chan struct{})
	go func() {
		defer close(cut)
		untilJob(t, client, &footagepb.JobFilter{Labels: labels})
		proxy.cut()
	}()
	job, err := through.Backups.CreateBackup(soon(t), request)
	<-cut
	if err != nil || job.GetState() != footagepb.JobState_JOB_STATE_SUCCEEDED {
		t.Fatalf("the call ended with %v and %v", job, err)
	}
	if proxy.accepted() != 2 {
		t.Errorf("%d connections were made", proxy.accepted())
	}
	page, err := client.Jobs.ListJobs(soon(t), &footagepb.ListJobsRequest{Filter: &footagepb.JobFilter{Labels: labels}})
	if err != nil || len(page.GetJobs()) != 1 || page.GetJobs()[0].GetId() != job.GetId() {
		t.Errorf("these jobs were made: %v, %v", page, err)
	}
	if request.GetRequestId() != "" {
		t.Error("the caller's request was changed")
	}
}

func TestADownloadThatBreaksGoesOnWhereItStopped(t *testing.T) {
	s := sharedServer(t)
	archive := archiveOfAll(t, s.client(t))
	proxy := newProxy(t, s.address)
	through := newClient(t, proxy.address())
	proxy.cutAfter(archive.GetSizeBytes() / 2)
	var all []int64
	path, err := through.DownloadArchive(soon(t), archive, t.TempDir(), footage.OnBytes(func(received, _ int64) { all = append(all, received) }))
	if err != nil {
		t.Fatal(err)
	}
	if proxy.accepted() != 2 {
		t.Errorf("%d connections were made", proxy.accepted())
	}
	if !slices.IsSorted(all) {
		t.Errorf("bytes came twice: %v", all)
	}
	if sha256Of(t, path) != archive.GetSha256() {
		t.Errorf("%s is not the archive", path)
	}
}

func TestADownloadTakesUpWhatAnEarlierProgramLeft(t *testing.T) {
	client := sharedServer(t).client(t)
	archive := archiveOfAll(t, client)
	folder := t.TempDir()
	path, err := client.DownloadArchive(soon(t), archive, filepath.Join(folder, "whole.zip"))
	if err != nil {
		t.Fatal(err)
	}
	whole := mustRead(t, path)
	part := filepath.Join(folder, fmt.Sprintf(".again.zip.%s.part", archive.GetSha256()[:16]))
	for name, left := range map[string][]byte{
		"half of it":         whole[:len(whole)/2],
		"all of it":          whole,
		"something else":     []byte(strings.Repeat("x", 1000)),
		"something too long": append(slices.Clone(whole), "more"...),
	} {
		if err := os.WriteFile(part, left, 0o600); err != nil {
			t.Fatal(err)
		}
		first := int64(-1)
		path, err := client.DownloadArchive(soon(t), archive, filepath.Join(folder, "again.zip"), footage.OnBytes(func(received, _ int64) {
			if first < 0 {
				first = received
			}
		}))
		if err != nil || string(mustRead(t, path)) != string(whole) {
			t.Errorf("%s: the file is wrong: %v", name, err)
		}
		if name == "half of it" && first <= int64(len(left)) {
			t.Errorf("%s came again", name)
		}
		if names := namesIn(t, folder); names != "[again.zip whole.zip]" {
			t.Errorf("%s: the folder has %s", name, names)
		}
	}
}

func TestTwoDownloadsOfAFileToOnePlaceDoNotSpoilEachOther(t *testing.T) {
	client := sharedServer(t).client(t)
	archive := archiveOfAll(t, client)
	path := filepath.Join(t.TempDir(), "twice.zip")
	var downloads sync.WaitGroup
	for range 4 {
		downloads.Go(func() {
			if _, err := client.DownloadArchive(soon(t), archive, path); err != nil {
				t.Error(err)
			}
		})
	}
	downloads.Wait()
	if sha256Of(t, path) != archive.GetSha256() {
		t.Error("the file is spoilt")
	}
	if names := namesIn(t, filepath.Dir(path)); names != "[twice.zip]" {
		t.Errorf("the folder has %s", names)
	}
}

func TestAFileWithAnotherHashGetsNoName(t *testing.T) {
	s := sharedServer(t)
	client := s.client(t)
	clip := makeClip(t, client, "yard_02", 1, 3)
	stored := filepath.Join(s.folder, "data", "clips", clip.GetFileName())
	content := mustRead(t, stored)
	content[len(content)/2] ^= 1
	if err := os.WriteFile(stored, content, 0o600); err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	path, err := client.DownloadClip(soon(t), clip, folder)
	if !errors.Is(err, footage.ErrDataLoss) || !strings.Contains(err.Error(), "SHA-256") {
		t.Errorf("the download ended with %q and %v", path, err)
	}
	if names := namesIn(t, folder); names != "[]" {
		t.Errorf("the folder has %s", names)
	}
}

func TestAVirtualClipIsSavedWithItsLength(t *testing.T) {
	client := sharedServer(t).client(t)
	job, err := client.CreateClip(soon(t), &footagepb.CreateClipRequest{
		CameraId: "gate_a_01", StartTime: at(2), EndTime: at(5), Virtual: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	clip, err := job.Result(soon(t))
	if err != nil || clip.GetSha256() != "" {
		t.Fatalf("the clip is %v, %v", clip, err)
	}
	folder := t.TempDir()
	path, err := client.DownloadClip(soon(t), clip, folder)
	if err != nil || int64(len(mustRead(t, path))) != clip.GetSizeBytes() {
		t.Errorf("the file is wrong: %v", err)
	}
	if names := namesIn(t, folder); names != "["+clip.GetFileName()+"]" {
		t.Errorf("the folder has %s", names)
	}
}

// The child process of the next test follows the job at this address; its id is in the other variable.
const (
	childAddress = "FOOTAGE_GO_TEST_CHILD_ADDRESS"
	childJob     = "FOOTAGE_GO_TEST_CHILD_JOB"
)

func childThatFollows() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	client, err := footage.New(os.Getenv(childAddress))
	if err != nil {
		panic(err)
	}
	job, err := client.Follow(ctx, os.Getenv(childJob))
	if err != nil {
		panic(err)
	}
	_, err = job.Result(ctx, footage.CancelWithContext(), footage.OnProgress(func(state *footagepb.Job) { fmt.Println(state.GetState()) }))
	fmt.Println(errors.Is(err, context.Canceled), err)
}

func TestCtrlCCancelsTheJob(t *testing.T) {
	s := sharedServer(t)
	client := s.client(t)
	job := client.FollowJob(slowJob(t, client, s, 1000))
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(soon(t), program)
	child.Env = append(os.Environ(), childAddress+"="+s.address, childJob+"="+job.ID())
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "JOB_STATE_RUNNING" {
	}
	if err := child.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	var last string
	for lines.Scan() {
		last = lines.Text()
	}
	if err := child.Wait(); err != nil || !strings.HasPrefix(last, "true ") {
		t.Errorf("the child ended with %v and said %q", err, last)
	}
	_, err = job.Result(soon(t))
	var ended *footage.JobError
	if !errors.As(err, &ended) || !ended.Cancelled() || ended.Job.GetId() != job.ID() {
		t.Fatalf("the job ended with %v", err)
	}
	if !footage.HasReason(err, footagepb.ErrorReason_ERROR_REASON_CANCELLED) || errors.Is(err, context.Canceled) {
		t.Errorf("the reason is %#v", ended.Err)
	}
}

func TestAContextThatEndsLeavesTheJobUnlessAskedTo(t *testing.T) {
	s := sharedServer(t)
	client := s.client(t)
	job := client.FollowJob(slowJob(t, client, s, 1000))
	untilRunning := func(options ...footage.FollowOption) error {
		ctx, cancel := context.WithCancelCause(soon(t))
		defer cancel(nil)
		_, err := job.Result(ctx, append(options, footage.OnProgress(func(state *footagepb.Job) {
			if state.GetState() == footagepb.JobState_JOB_STATE_RUNNING {
				cancel(errEnough)
			}
		}))...)
		return err
	}
	if err := untilRunning(); !errors.Is(err, errEnough) || !errors.Is(err, context.Canceled) || !errors.Is(err, footage.ErrCancelled) {
		t.Errorf("following ended with %v", err)
	}
	state, err := client.Jobs.GetJob(soon(t), &footagepb.GetJobRequest{JobId: job.ID()})
	if err != nil || state.GetState() != footagepb.JobState_JOB_STATE_RUNNING {
		t.Fatalf("the job is %v, %v", state, err)
	}
	if err := untilRunning(footage.CancelWithContext()); !errors.Is(err, errEnough) {
		t.Errorf("following ended with %v", err)
	}
	var ended *footage.JobError
	if _, err := job.Result(soon(t)); !errors.As(err, &ended) || !ended.Cancelled() {
		t.Errorf("the job ended with %v", err)
	}
}

var errEnough = errors.New("that is enough")

func TestAJobIsCancelledWhenTheLoopIsLeftBecauseTheContextIsDone(t *testing.T) {
	s := sharedServer(t)
	client := s.client(t)
	job := client.FollowJob(slowJob(t, client, s, 1000))
	ctx, cancel := context.WithCancel(soon(t))
	defer cancel()
	for range job.States(ctx, footage.CancelWithContext()) {
		cancel()
		break
	}
	var ended *footage.JobError
	if _, err := job.Result(soon(t)); !errors.As(err, &ended) || !ended.Cancelled() {
		t.Errorf("the job ended with %v", err)
	}
}

func TestABadFieldIsNamedWithItsPath(t *testing.T) {
	_, err := sharedServer(t).client(t).Backups.CreateDestination(soon(t), &footagepb.CreateDestinationRequest{
		Destination: &footagepb.Destination{Settings: &footagepb.Destination_Local{Local: &footagepb.LocalSettings{Path: "/nonexistent/backup"}}},
	})
	var failure *footage.Error
	if !errors.As(err, &failure) || !errors.Is(err, footage.ErrInvalidArgument) {
		t.Fatalf("the call ended with %v", err)
	}
	if len(failure.FieldViolations) != 1 || failure.FieldViolations[0].Field != "destination.local.path" {
		t.Errorf("the fields are %v", failure.FieldViolations)
	}
	if words := failure.Error(); !strings.HasSuffix(words, "(INVALID_FIELD: destination.local.path)") {
		t.Errorf("the error in words is %q", words)
	}
}

func TestAFailedJobHasCodeReasonAndMetadata(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	client := s.client(t)
	id := slowDestination(t, client, s, 3_000_000)
	destination, err := client.Backups.GetDestination(soon(t), &footagepb.GetDestinationRequest{DestinationId: id})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(destination.GetLocal().GetPath()); err != nil {
		t.Fatal(err)
	}
	tested, err := client.Backups.TestDestination(soon(t), &footagepb.TestDestinationRequest{
		Subject: &footagepb.TestDestinationRequest_DestinationId{DestinationId: id},
	})
	if err != nil || footage.ErrorOf(tested.GetError()).Domain != "footage.heldar" {
		t.Errorf("the test said %v, %v", tested, err)
	}
	job, err := client.Backups.CreateBackup(soon(t), &footagepb.CreateBackupRequest{DestinationId: id})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.FollowJob(job).Result(soon(t))
	var ended *footage.JobError
	if !errors.As(err, &ended) || ended.Cancelled() || ended.Job.GetId() != job.GetId() {
		t.Fatalf("the job ended with %v", err)
	}
	if !footage.HasReason(err, footagepb.ErrorReason_ERROR_REASON_DESTINATION_UNREACHABLE) || ended.Err.Code != codes.Unavailable {
		t.Errorf("the job ended with %#v", ended.Err)
	}
	if len(ended.Err.Metadata) != 1 || ended.Err.Metadata["retryable"] != "true" {
		t.Errorf("the metadata are %v", ended.Err.Metadata)
	}
}

func TestACertificateThatNobodyVouchesForIsRefused(t *testing.T) {
	s := &standIn{listCameras: func(context.Context) (*footagepb.ListCamerasResponse, error) {
		return &footagepb.ListCamerasResponse{Cameras: []*footagepb.Camera{{Id: "behind_tls"}}}, nil
	}}
	handler := grpc.NewServer()
	footagepb.RegisterCatalogServiceServer(handler, s)
	behind := httptest.NewUnstartedServer(handler)
	behind.EnableHTTP2 = true
	behind.StartTLS()
	defer behind.Close()
	trusted := x509.NewCertPool()
	trusted.AddCert(behind.Certificate())

	client := newClient(t, behind.URL, footage.WithTLS(&tls.Config{RootCAs: trusted, ServerName: "example.com"}))
	for camera, err := range client.Cameras(t.Context()) {
		if err != nil || camera.GetId() != "behind_tls" {
			t.Errorf("the camera is %v, %v", camera, err)
		}
	}
	client = newClient(t, behind.URL, footage.WithTimeout(time.Second))
	for camera, err := range client.Cameras(t.Context()) {
		if !errors.Is(err, footage.ErrUnavailable) || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("the camera is %v, %v", camera, err)
		}
	}
}
