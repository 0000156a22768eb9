import heldar.footage.AlreadyExistsException;
import heldar.footage.Footage;
import heldar.footage.ProgressLine;
import heldar.footage.v1.BackupRun;
import heldar.footage.v1.CreateDestinationRequest;
import heldar.footage.v1.CreatePolicyRequest;
import heldar.footage.v1.CronSchedule;
import heldar.footage.v1.Destination;
import heldar.footage.v1.LocalSettings;
import heldar.footage.v1.Policy;
import heldar.footage.v1.TestDestinationRequest;
import heldar.footage.v1.TestDestinationResponse;

/**
 * Makes a destination and a policy, runs it and watches.
 *
 * <pre>java -cp 'target/dependency/*' RunBackup.java FOLDER [ADDRESS]</pre>
 *
 * FOLDER is on the server's machine, beneath one of HELDAR_BACKUP_LOCAL_ROOTS.
 */
class RunBackup {
  private static final String DESTINATION = "bkd_example";
  private static final String POLICY = "bkp_example";

  public static void main(String[] args) {
    try (Footage footage = Footage.connect(args.length > 1 ? args[1] : "127.0.0.1:50051")) {
      createDestination(footage, args[0]);
      TestDestinationResponse test =
          footage.backups().testDestination(TestDestinationRequest.newBuilder().setDestinationId(DESTINATION).build());
      if (!test.getOk()) {
        System.err.println("the destination does not work: " + test.getError().getMessage());
        System.exit(1);
      }
      createPolicy(footage);
      BackupRun run =
          footage.runPolicy(POLICY).cancelOnShutdown().result(state -> System.out.println(ProgressLine.of(state)));
      System.out.printf("%d files sent, %d failed%n", run.getFilesSent(), run.getFilesFailed());
    }
  }

  private static void createDestination(Footage footage, String folder) {
    try {
      footage
          .backups()
          .createDestination(
              CreateDestinationRequest.newBuilder()
                  .setDestinationId(DESTINATION)
                  .setDestination(
                      Destination.newBuilder()
                          .setDisplayName("NAS, Süd")
                          .setLocal(LocalSettings.newBuilder().setPath(folder)))
                  .build());
    } catch (AlreadyExistsException e) {
      System.out.println("using the destination of an earlier run");
    }
  }

  private static void createPolicy(Footage footage) {
    try {
      footage
          .backups()
          .createPolicy(
              CreatePolicyRequest.newBuilder()
                  .setPolicyId(POLICY)
                  .setPolicy(
                      Policy.newBuilder()
                          .setDisplayName("what is new, each night")
                          .setDestinationId(DESTINATION)
                          .setCron(CronSchedule.newBuilder().setExpression("30 2 * * *").setTimeZone("Europe/Berlin")))
                  .build());
    } catch (AlreadyExistsException e) {
      System.out.println("using the policy of an earlier run");
    }
  }
}
