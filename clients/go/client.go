// Package footage makes clips, archives and backups of recorded video with a heldar-footage server.
//
//	client, err := footage.New("127.0.0.1:50051")
//	...
//	job, err := client.CreateClip(ctx, &footagepb.CreateClipRequest{CameraId: "gate_a_01", StartTime: …, EndTime: …})
//	...
//	clip, err := job.Result(ctx)
//	...
//	path, err := client.DownloadClip(ctx, clip, "")
//
// A job is followed through broken streams and restarts of the server, a download goes on where it stopped and is checked
// by its SHA-256, and the error of a call is an [*Error]. The package footagepb has the messages.
package footage

import (
	"context"
	"iter"

	"google.golang.org/grpc"

	"heldar/footage/footagepb"
)

// Client is a connection to a server. One is enough for a program; it may be used by many goroutines.
//
// Its fields have every method of the contract. Their calls get the token; those with a single answer get a deadline and,
// where the contract knows one, a request_id, and are repeated while the server is away where that does nothing twice.
// Every error of theirs is an [*Error].
type Client struct {
	Clips    footagepb.ClipServiceClient
	Archives footagepb.ArchiveServiceClient
	Backups  footagepb.BackupServiceClient
	Jobs     footagepb.JobServiceClient
	Catalog  footagepb.CatalogServiceClient

	conn     *grpc.ClientConn
	settings settings
}

// New makes a client of the server at an address: host:port, http://host:port, or https://host[:port], which means TLS.
// It connects with the first call.
func New(address string, options ...Option) (*Client, error) {
	settings, err := newSettings(address, options)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient(settings.target, settings.dialOptions()...)
	if err != nil {
		return nil, badArgument("address", err.Error())
	}
	return &Client{
		Clips:    footagepb.NewClipServiceClient(conn),
		Archives: footagepb.NewArchiveServiceClient(conn),
		Backups:  footagepb.NewBackupServiceClient(conn),
		Jobs:     footagepb.NewJobServiceClient(conn),
		Catalog:  footagepb.NewCatalogServiceClient(conn),
		conn:     conn,
		settings: settings,
	}, nil
}

// Close ends the connection and every call on it; jobs go on.
func (c *Client) Close() error {
	return c.conn.Close()
}

// Cameras gives every camera, the most recently created first. An error is the last that it gives.
func (c *Client) Cameras(ctx context.Context) iter.Seq2[*footagepb.Camera, error] {
	return func(yield func(*footagepb.Camera, error) bool) {
		request := &footagepb.ListCamerasRequest{}
		for {
			page, err := c.Catalog.ListCameras(ctx, request)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, camera := range page.GetCameras() {
				if !yield(camera, nil) {
					return
				}
			}
			if page.GetNextPageToken() == "" {
				return
			}
			request = &footagepb.ListCamerasRequest{PageToken: page.GetNextPageToken()}
		}
	}
}

// CreateClip starts a clip. For a plan alone, with validate_only, call the method of Clips.
func (c *Client) CreateClip(ctx context.Context, request *footagepb.CreateClipRequest) (*RunningJob[*footagepb.Clip], error) {
	if request.GetValidateOnly() {
		return nil, planOnly()
	}
	job, err := c.Clips.CreateClip(ctx, request)
	return running(c, job, err, (*footagepb.Job).GetClip)
}

// CreateArchive starts an archive. For a plan alone, with validate_only, call the method of Archives.
func (c *Client) CreateArchive(ctx context.Context, request *footagepb.CreateArchiveRequest) (*RunningJob[*footagepb.Archive], error) {
	if request.GetValidateOnly() {
		return nil, planOnly()
	}
	job, err := c.Archives.CreateArchive(ctx, request)
	return running(c, job, err, (*footagepb.Job).GetArchive)
}

// RunPolicy starts a run of a backup policy.
func (c *Client) RunPolicy(ctx context.Context, request *footagepb.RunPolicyRequest) (*RunningJob[*footagepb.BackupRun], error) {
	job, err := c.Backups.RunPolicy(ctx, request)
	return running(c, job, err, (*footagepb.Job).GetBackup)
}

// Follow takes up any job, by its id. What it made is in the job that Result returns.
func (c *Client) Follow(ctx context.Context, jobID string) (*RunningJob[*footagepb.Job], error) {
	job, err := c.Jobs.GetJob(ctx, &footagepb.GetJobRequest{JobId: jobID})
	return running(c, job, err, wholeJob)
}

// FollowJob takes up a job as an answer gave it, such as that of Backups.CreateBackup.
func (c *Client) FollowJob(job *footagepb.Job) *RunningJob[*footagepb.Job] {
	return newRunningJob(c, job, wholeJob)
}

func wholeJob(job *footagepb.Job) *footagepb.Job { return job }

func running[R any](c *Client, job *footagepb.Job, err error, result func(*footagepb.Job) R) (*RunningJob[R], error) {
	if err != nil {
		return nil, err
	}
	return newRunningJob(c, job, result), nil
}

func planOnly() *Error {
	return badArgument("validate_only", "a plan makes no job that could be followed; call the method of the service")
}
