package heldar.footage;

import heldar.footage.v1.BackupRun;
import heldar.footage.v1.CreateBackupRequest;

/** A program that follows a job which it wants cancelled when it ends. */
final class FollowedJob {
  private FollowedJob() {}

  public static void main(String[] args) {
    try (Footage footage = Footage.connect(args[0])) {
      CreateBackupRequest request = CreateBackupRequest.newBuilder().setDestinationId(args[1]).build();
      RunningJob<BackupRun> job = footage.follow(footage.backups().createBackup(request), BackupRun.class);
      System.out.println(job.id());
      job.cancelOnShutdown().result(state -> System.out.println(state.getState()));
    }
  }
}
