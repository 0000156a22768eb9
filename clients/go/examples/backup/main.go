// Makes a destination and a policy, runs it and watches.
//
//	go run ./examples/backup FOLDER [ADDRESS]
//
// FOLDER is on the server's machine, beneath one of HELDAR_BACKUP_LOCAL_ROOTS.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"

	"heldar/footage"
	"heldar/footage/footagepb"
)

const (
	destinationID = "bkd_example"
	policyID      = "bkp_example"
)

func main() {
	log.SetFlags(0)
	// With this context Ctrl-C cancels the run.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if len(os.Args) < 2 {
		log.Fatal("usage: go run ./examples/backup FOLDER [ADDRESS]")
	}
	address := "127.0.0.1:50051"
	if len(os.Args) > 2 {
		address = os.Args[2]
	}
	if err := backUp(ctx, address, os.Args[1]); err != nil {
		log.Fatalf("no backup: %v", err)
	}
}

func backUp(ctx context.Context, address, folder string) error {
	client, err := footage.New(address)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := prepare(ctx, client, folder); err != nil {
		return err
	}
	job, err := client.RunPolicy(ctx, &footagepb.RunPolicyRequest{PolicyId: policyID})
	if err != nil {
		return err
	}
	for state, err := range job.States(ctx, footage.CancelWithContext()) {
		if err != nil {
			return err
		}
		fmt.Println(footage.ProgressLine(state))
	}
	run, err := job.Result(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("%d files sent, %d failed\n", run.GetFilesSent(), run.GetFilesFailed())
	return nil
}

// prepare makes the destination and the policy, unless an earlier run did.
func prepare(ctx context.Context, client *footage.Client, folder string) error {
	_, err := client.Backups.CreateDestination(ctx, &footagepb.CreateDestinationRequest{
		DestinationId: destinationID,
		Destination: &footagepb.Destination{
			DisplayName: "NAS, Süd",
			Settings:    &footagepb.Destination_Local{Local: &footagepb.LocalSettings{Path: folder}},
		},
	})
	if errors.Is(err, footage.ErrAlreadyExists) {
		fmt.Println("using the destination of an earlier run")
	} else if err != nil {
		return err
	}
	test, err := client.Backups.TestDestination(ctx, &footagepb.TestDestinationRequest{
		Subject: &footagepb.TestDestinationRequest_DestinationId{DestinationId: destinationID},
	})
	if err != nil {
		return err
	}
	if !test.GetOk() {
		return fmt.Errorf("the destination does not work: %w", footage.ErrorOf(test.GetError()))
	}
	_, err = client.Backups.CreatePolicy(ctx, &footagepb.CreatePolicyRequest{
		PolicyId: policyID,
		Policy: &footagepb.Policy{
			DisplayName:   "what is new, each night",
			DestinationId: destinationID,
			Schedule:      &footagepb.Policy_Cron{Cron: &footagepb.CronSchedule{Expression: "30 2 * * *", TimeZone: "Europe/Berlin"}},
		},
	})
	if errors.Is(err, footage.ErrAlreadyExists) {
		fmt.Println("using the policy of an earlier run")
		return nil
	}
	return err
}
