// Saves the last minute of a camera.
//
//	go run ./examples/clip [ADDRESS [CAMERA]]
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"heldar/footage"
	"heldar/footage/footagepb"
)

func main() {
	log.SetFlags(0)
	// With this context Ctrl-C cancels the job.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	address, cameraID := "127.0.0.1:50051", ""
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	if len(os.Args) > 2 {
		cameraID = os.Args[2]
	}
	if err := saveLastMinute(ctx, address, cameraID); err != nil {
		log.Fatalf("no clip: %v", err)
	}
}

func saveLastMinute(ctx context.Context, address, cameraID string) error {
	client, err := footage.New(address)
	if err != nil {
		return err
	}
	defer client.Close()
	camera, err := pick(ctx, client, cameraID)
	if err != nil {
		return err
	}
	end := camera.GetLastSegmentTime().AsTime()
	job, err := client.CreateClip(ctx, &footagepb.CreateClipRequest{
		CameraId:  camera.GetId(),
		StartTime: timestamppb.New(end.Add(-time.Minute)),
		EndTime:   timestamppb.New(end),
		CreatedBy: "example",
	})
	if err != nil {
		return err
	}
	show := func(job *footagepb.Job) { fmt.Println(footage.ProgressLine(job)) }
	clip, err := job.Result(ctx, footage.OnProgress(show), footage.CancelWithContext())
	if err != nil {
		return err
	}
	path, err := client.DownloadClip(ctx, clip, "")
	if err != nil {
		return err
	}
	fmt.Printf("%s: %d bytes, SHA-256 %s, gaps: %d\n", path, clip.GetSizeBytes(), clip.GetSha256(), len(clip.GetGaps()))
	return nil
}

// pick returns the camera, or the first that has footage when none is named.
func pick(ctx context.Context, client *footage.Client, id string) (*footagepb.Camera, error) {
	if id != "" {
		return client.Catalog.GetCamera(ctx, &footagepb.GetCameraRequest{CameraId: id})
	}
	for camera, err := range client.Cameras(ctx) {
		if err != nil {
			return nil, err
		}
		if camera.GetSegmentCount() > 0 {
			return camera, nil
		}
	}
	return nil, errors.New("no camera has footage")
}
