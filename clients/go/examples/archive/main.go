// Saves the last minute of up to three cameras as one archive that proves what it contains.
//
//	go run ./examples/archive [ADDRESS]
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
	address := "127.0.0.1:50051"
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	if err := saveArchive(ctx, address); err != nil {
		log.Fatalf("no archive: %v", err)
	}
}

func saveArchive(ctx context.Context, address string) error {
	client, err := footage.New(address)
	if err != nil {
		return err
	}
	defer client.Close()
	cameraIDs, end, err := upToThree(ctx, client)
	if err != nil {
		return err
	}
	job, err := client.CreateArchive(ctx, &footagepb.CreateArchiveRequest{
		Spec: &footagepb.ArchiveSpec{
			CameraIds: cameraIDs,
			StartTime: timestamppb.New(end.Add(-time.Minute)),
			EndTime:   timestamppb.New(end),
			CaseId:    "2026-117",
			Operator:  "control room",
			Reason:    "example",
		},
	})
	if err != nil {
		return err
	}
	for state, err := range job.States(ctx, footage.CancelWithContext()) {
		if err != nil {
			return err
		}
		fmt.Println(footage.ProgressLine(state))
	}
	archive, err := job.Result(ctx)
	if err != nil {
		return err
	}
	path, err := client.DownloadArchive(ctx, archive, "")
	if err != nil {
		return err
	}
	fmt.Printf("%s: %d entries of %d cameras, SHA-256 %s\n", path, archive.GetEntryCount(), len(archive.GetCameras()), archive.GetSha256())
	return nil
}

// upToThree returns cameras that have footage, and the end of the newest.
func upToThree(ctx context.Context, client *footage.Client) (ids []string, end time.Time, err error) {
	for camera, err := range client.Cameras(ctx) {
		if err != nil {
			return nil, end, err
		}
		if camera.GetSegmentCount() == 0 {
			continue
		}
		ids = append(ids, camera.GetId())
		if last := camera.GetLastSegmentTime().AsTime(); last.After(end) {
			end = last
		}
		if len(ids) == 3 {
			break
		}
	}
	if len(ids) == 0 {
		return nil, end, errors.New("no camera has footage")
	}
	return ids, end, nil
}
