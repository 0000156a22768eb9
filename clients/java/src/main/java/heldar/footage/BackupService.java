// Written by clients/java/generate.sh from heldar/footage/v1/backup.proto. Do not edit.
package heldar.footage;

import heldar.footage.v1.CreateBackupRequest;
import heldar.footage.v1.CreateDestinationRequest;
import heldar.footage.v1.CreatePolicyRequest;
import heldar.footage.v1.DeleteDestinationRequest;
import heldar.footage.v1.DeleteDestinationResponse;
import heldar.footage.v1.DeletePolicyRequest;
import heldar.footage.v1.DeletePolicyResponse;
import heldar.footage.v1.Destination;
import heldar.footage.v1.GetDestinationRequest;
import heldar.footage.v1.GetPolicyRequest;
import heldar.footage.v1.Job;
import heldar.footage.v1.ListBackupObjectsRequest;
import heldar.footage.v1.ListBackupObjectsResponse;
import heldar.footage.v1.ListDestinationsRequest;
import heldar.footage.v1.ListDestinationsResponse;
import heldar.footage.v1.ListPoliciesRequest;
import heldar.footage.v1.ListPoliciesResponse;
import heldar.footage.v1.Policy;
import heldar.footage.v1.RestoreBackupRequest;
import heldar.footage.v1.RunPolicyRequest;
import heldar.footage.v1.TestDestinationRequest;
import heldar.footage.v1.TestDestinationResponse;
import heldar.footage.v1.UpdateDestinationRequest;
import heldar.footage.v1.UpdatePolicyRequest;
import heldar.footage.v1.VerifyBackupRequest;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.MethodType;
import java.time.Duration;

/**
 * Backups: footage copied to other places, checked there, and brought back.
 *
 * <p>A Destination says where footage goes, a Policy what goes there and when. A run is a Job of kind backup; its
 * result is a BackupRun. What is at a destination is written in a ledger, one BackupObject per file, and a run
 * sends only what the ledger does not have: a second run right after the first moves nothing. A file enters the
 * ledger after its check at the destination passed and has its final name only when it is whole. The ledger is
 * kept at the destination too, so that RestoreBackup works when this server's database is lost: it is written there
 * after the first files of a run, every two minutes while more are sent, and at the end of the run, also of one that
 * fails while the destination still answers. What a cancelled run sent is written by the next one.
 *
 * <p>A file that the ledger does not know is never overwritten: one that stands under the name of a segment is taken for
 * it when its bytes are the same, and else the segment gets another name. Two servers that begin to write the same name
 * at the same moment are beyond that, so give each server a path or prefix of its own.
 *
 * <p>Life of a run: QUEUED when it is due or asked for, RUNNING, then SUCCEEDED when every selected segment is at
 * the destination or is named in {@code BackupRun.faults}; FAILED when the destination could not be used. A run that
 * was interrupted goes on where it stopped. A destination that refuses the login, shows another host key or is
 * full is paused ({@code Destination.status.pause}) and uses up no attempts.
 *
 * <p>In JSON, integers of 64 bits come as strings: "size_bytes": "1800000000".
 */
public final class BackupService {
  /** Describes {@link #createDestination}. */
  public static final MethodDescriptor<CreateDestinationRequest, Destination> CREATE_DESTINATION =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.BackupService",
          "CreateDestination",
          CreateDestinationRequest.getDefaultInstance(),
          Destination.getDefaultInstance());

  /** Describes {@link #getDestination}. */
  public static final MethodDescriptor<GetDestinationRequest, Destination> GET_DESTINATION =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.BackupService",
          "GetDestination",
          GetDestinationRequest.getDefaultInstance(),
          Destination.getDefaultInstance());

  /** Describes {@link #listDestinations}. */
  public static final MethodDescriptor<ListDestinationsRequest, ListDestinationsResponse> LIST_DESTINATIONS =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.BackupService",
          "ListDestinations",
          ListDestinationsRequest.getDefaultInstance(),
          ListDestinationsResponse.getDefaultInstance());

  /** Describes {@link #updateDestination}. */
  public static final MethodDescriptor<UpdateDestinationRequest, Destination> UPDATE_DESTINATION =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.BackupService",
          "UpdateDestination",
          UpdateDestinationRequest.getDefaultInstance(),
          Destination.getDefaultInstance());

  /** Describes {@link #deleteDestination}. */
  public static final MethodDescriptor<DeleteDestinationRequest, DeleteDestinationResponse> DELETE_DESTINATION =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.BackupService",
          "DeleteDestination",
          DeleteDestinationRequest.getDefaultInstance(),
          DeleteDestinationResponse.getDefaultInstance());

  /** Describes {@link #testDestination}. */
  public static final MethodDescriptor<TestDestinationRequest, TestDestinationResponse> TEST_DESTINATION =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.BackupService",
          "TestDestination",
          TestDestinationRequest.getDefaultInstance(),
          TestDestinationResponse.getDefaultInstance());

  /** Describes {@link #createPolicy}. */
  public static final MethodDescriptor<CreatePolicyRequest, Policy> CREATE_POLICY =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.BackupService",
          "CreatePolicy",
          CreatePolicyRequest.getDefaultInstance(),
          Policy.getDefaultInstance());

  /** Describes {@link #getPolicy}. */
  public static final MethodDescriptor<GetPolicyRequest, Policy> GET_POLICY =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.BackupService",
          "GetPolicy",
          GetPolicyRequest.getDefaultInstance(),
          Policy.getDefaultInstance());

  /** Describes {@link #listPolicies}. */
  public static final MethodDescriptor<ListPoliciesRequest, ListPoliciesResponse> LIST_POLICIES =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.BackupService",
          "ListPolicies",
          ListPoliciesRequest.getDefaultInstance(),
          ListPoliciesResponse.getDefaultInstance());

  /** Describes {@link #updatePolicy}. */
  public static final MethodDescriptor<UpdatePolicyRequest, Policy> UPDATE_POLICY =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.BackupService",
          "UpdatePolicy",
          UpdatePolicyRequest.getDefaultInstance(),
          Policy.getDefaultInstance());

  /** Describes {@link #deletePolicy}. */
  public static final MethodDescriptor<DeletePolicyRequest, DeletePolicyResponse> DELETE_POLICY =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.BackupService",
          "DeletePolicy",
          DeletePolicyRequest.getDefaultInstance(),
          DeletePolicyResponse.getDefaultInstance());

  /** Describes {@link #runPolicy}. */
  public static final MethodDescriptor<RunPolicyRequest, Job> RUN_POLICY =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.BackupService",
          "RunPolicy",
          RunPolicyRequest.getDefaultInstance(),
          Job.getDefaultInstance());

  /** Describes {@link #createBackup}. */
  public static final MethodDescriptor<CreateBackupRequest, Job> CREATE_BACKUP =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.BackupService",
          "CreateBackup",
          CreateBackupRequest.getDefaultInstance(),
          Job.getDefaultInstance());

  /** Describes {@link #verifyBackup}. */
  public static final MethodDescriptor<VerifyBackupRequest, Job> VERIFY_BACKUP =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.BackupService",
          "VerifyBackup",
          VerifyBackupRequest.getDefaultInstance(),
          Job.getDefaultInstance());

  /** Describes {@link #restoreBackup}. */
  public static final MethodDescriptor<RestoreBackupRequest, Job> RESTORE_BACKUP =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.BackupService",
          "RestoreBackup",
          RestoreBackupRequest.getDefaultInstance(),
          Job.getDefaultInstance());

  /** Describes {@link #listBackupObjects}. */
  public static final MethodDescriptor<ListBackupObjectsRequest, ListBackupObjectsResponse> LIST_BACKUP_OBJECTS =
      Calls.method(
          MethodType.UNARY,
          "heldar.footage.v1.BackupService",
          "ListBackupObjects",
          ListBackupObjectsRequest.getDefaultInstance(),
          ListBackupObjectsResponse.getDefaultInstance());

  private final Calls calls;

  BackupService(Calls calls) {
    this.calls = calls;
  }

  /** The same methods with another limit for each call; streams, too, which have none otherwise. */
  public BackupService withTimeout(Duration timeout) {
    return new BackupService(calls.withTimeout(timeout));
  }

  /**
   * Creates a destination. It is stored without being tried: call TestDestination before or after.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"destination":{"display_name":"NAS","sftp":{"host":"nas.example","user":"footage","password":"…","path":"backup"}}}' \
   *   127.0.0.1:50051 heldar.footage.v1.BackupService/CreateDestination
   * }</pre>
   *
   * <p>Errors: INVALID_ARGUMENT (INVALID_FIELD "sftp destination requires {@code host}", "s3 destination requires
   * {@code bucket}", "local destination has no {@code path} configured", and all other bad fields at once;
   * REQUEST_ID_REUSED), ALREADY_EXISTS (ID_TAKEN), FAILED_PRECONDITION (SECRET_KEY_MISSING: the settings hold a
   * secret and HELDAR_SECRET_KEY is not set).
   */
  public Destination createDestination(CreateDestinationRequest request) {
    return calls.unary(CREATE_DESTINATION, request);
  }

  /**
   * Returns one destination, its secrets as {@code ***}.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"destination_id":"bkd_…"}' 127.0.0.1:50051 heldar.footage.v1.BackupService/GetDestination
   * }</pre>
   *
   * <p>Errors: NOT_FOUND (DESTINATION_NOT_FOUND).
   */
  public Destination getDestination(GetDestinationRequest request) {
    return calls.unary(GET_DESTINATION, request);
  }

  /**
   * Lists destinations, newest first.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"kind":"DESTINATION_KIND_S3"}' 127.0.0.1:50051 heldar.footage.v1.BackupService/ListDestinations
   * }</pre>
   *
   * <p>Errors: INVALID_ARGUMENT (INVALID_FIELD, PAGE_TOKEN_INVALID).
   */
  public ListDestinationsResponse listDestinations(ListDestinationsRequest request) {
    return calls.unary(LIST_DESTINATIONS, request);
  }

  /**
   * Changes a destination. A run under way takes up bandwidth limits at once and other settings with its next
   * batch of files.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"destination":{"id":"bkd_…","enabled":false},"update_mask":{"paths":["enabled"]}}' \
   *   127.0.0.1:50051 heldar.footage.v1.BackupService/UpdateDestination
   * }</pre>
   *
   * <p>Errors: INVALID_ARGUMENT (INVALID_FIELD, also for another kind than the present one), NOT_FOUND
   * (DESTINATION_NOT_FOUND), ABORTED (ETAG_STALE), FAILED_PRECONDITION (SECRET_KEY_MISSING).
   */
  public Destination updateDestination(UpdateDestinationRequest request) {
    return calls.unary(UPDATE_DESTINATION, request);
  }

  /**
   * Deletes a destination and this server's ledger of it. The files and the copy of the ledger at the
   * destination stay; a new destination with the same settings can restore from them.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"destination_id":"bkd_…"}' 127.0.0.1:50051 heldar.footage.v1.BackupService/DeleteDestination
   * }</pre>
   *
   * <p>Errors: NOT_FOUND (DESTINATION_NOT_FOUND), ABORTED (ETAG_STALE), FAILED_PRECONDITION (DESTINATION_IN_USE: a
   * policy names it or a job works on it).
   */
  public DeleteDestinationResponse deleteDestination(DeleteDestinationRequest request) {
    return calls.unary(DELETE_DESTINATION, request);
  }

  /**
   * Tries a destination: lists it, writes a probe file, reads it back, deletes it. Takes at most 30 s. Works for
   * a stored destination, enabled or not, and for settings that are not stored yet. A destination that does not
   * work is an answer with {@code ok} false, not a failed call.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"destination_id":"bkd_…"}' 127.0.0.1:50051 heldar.footage.v1.BackupService/TestDestination
   * }</pre>
   *
   * <p>Errors: INVALID_ARGUMENT (INVALID_FIELD), NOT_FOUND (DESTINATION_NOT_FOUND), FAILED_PRECONDITION
   * (RCLONE_UNAVAILABLE "rclone binary {@code X} is not available; install rclone or set HELDAR_RCLONE_BIN", also when
   * it is older than 1.63; never for local destinations).
   */
  public TestDestinationResponse testDestination(TestDestinationRequest request) {
    return calls.unary(TEST_DESTINATION, request);
  }

  /**
   * Creates a policy. Its first run is due at once with an interval or without a schedule, and then begins within
   * HELDAR_BACKUP_SCHEDULER_INTERVAL_S seconds; with cron it is due at the next moment.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"policy":{"display_name":"nightly","destination_id":"bkd_…","cron":{"expression":"30 2 * * *","time_zone":"Europe/Berlin"},"lookback":"604800s","retention":{"max_age":"7776000s"}}}' \
   *   127.0.0.1:50051 heldar.footage.v1.BackupService/CreatePolicy
   * }</pre>
   *
   * <p>Errors: INVALID_ARGUMENT (INVALID_FIELD, REQUEST_ID_REUSED), NOT_FOUND (DESTINATION_NOT_FOUND,
   * CAMERA_NOT_FOUND), ALREADY_EXISTS (ID_TAKEN).
   */
  public Policy createPolicy(CreatePolicyRequest request) {
    return calls.unary(CREATE_POLICY, request);
  }

  /**
   * Returns one policy.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"policy_id":"bkp_…"}' 127.0.0.1:50051 heldar.footage.v1.BackupService/GetPolicy
   * }</pre>
   *
   * <p>Errors: NOT_FOUND (POLICY_NOT_FOUND).
   */
  public Policy getPolicy(GetPolicyRequest request) {
    return calls.unary(GET_POLICY, request);
  }

  /**
   * Lists policies, newest first.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"overdue_only":true}' 127.0.0.1:50051 heldar.footage.v1.BackupService/ListPolicies
   * }</pre>
   *
   * <p>Errors: INVALID_ARGUMENT (INVALID_FIELD, PAGE_TOKEN_INVALID).
   */
  public ListPoliciesResponse listPolicies(ListPoliciesRequest request) {
    return calls.unary(LIST_POLICIES, request);
  }

  /**
   * Changes a policy. A run under way takes up the bandwidth limit at once and keeps the rest as it began.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"policy":{"id":"bkp_…","interval":"3600s"},"update_mask":{"paths":["interval"]}}' \
   *   127.0.0.1:50051 heldar.footage.v1.BackupService/UpdatePolicy
   * }</pre>
   *
   * <p>Errors: INVALID_ARGUMENT (INVALID_FIELD, also for another destination than the present one), NOT_FOUND
   * (POLICY_NOT_FOUND, CAMERA_NOT_FOUND), ABORTED (ETAG_STALE).
   */
  public Policy updatePolicy(UpdatePolicyRequest request) {
    return calls.unary(UPDATE_POLICY, request);
  }

  /**
   * Deletes a policy. Its jobs and what it sent stay. A run under way goes on: cancel it with JobService.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"policy_id":"bkp_…"}' 127.0.0.1:50051 heldar.footage.v1.BackupService/DeletePolicy
   * }</pre>
   *
   * <p>Errors: NOT_FOUND (POLICY_NOT_FOUND), ABORTED (ETAG_STALE).
   */
  public DeletePolicyResponse deletePolicy(DeletePolicyRequest request) {
    return calls.unary(DELETE_POLICY, request);
  }

  /**
   * Starts a run of a policy now, also when the policy or the scheduler (HELDAR_BACKUP_ENABLED) is off and
   * outside of its hours. Returns the Job; the result is a BackupRun.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"policy_id":"bkp_…"}' 127.0.0.1:50051 heldar.footage.v1.BackupService/RunPolicy
   * }</pre>
   *
   * <p>Errors: INVALID_ARGUMENT (INVALID_FIELD, REQUEST_ID_REUSED), NOT_FOUND (POLICY_NOT_FOUND;
   * DESTINATION_NOT_FOUND "backup destination not found or removed"), FAILED_PRECONDITION (POLICY_RUNNING: a run
   * is under way, its id is in the metadata as {@code job_id}; DESTINATION_DISABLED "backup destination is disabled";
   * RCLONE_UNAVAILABLE), RESOURCE_EXHAUSTED (QUEUE_FULL), UNAVAILABLE (DRAINING, DATABASE_UNAVAILABLE).
   */
  public Job runPolicy(RunPolicyRequest request) {
    return calls.unary(RUN_POLICY, request);
  }

  /**
   * Sends a selection of footage to a destination once, without a policy. Returns the Job; the result is a
   * BackupRun. What the destination has already is not sent again.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"destination_id":"bkd_…","start_time":"2026-11-22T10:00:00Z","end_time":"2026-11-22T11:00:00Z","camera_ids":["gate_a_01"]}' \
   *   127.0.0.1:50051 heldar.footage.v1.BackupService/CreateBackup
   * }</pre>
   *
   * <p>Errors: INVALID_ARGUMENT (INVALID_FIELD, WINDOW_REVERSED, REQUEST_ID_REUSED), NOT_FOUND
   * (DESTINATION_NOT_FOUND, CAMERA_NOT_FOUND, NO_FOOTAGE), FAILED_PRECONDITION (DESTINATION_DISABLED,
   * RCLONE_UNAVAILABLE), RESOURCE_EXHAUSTED (QUEUE_FULL), UNAVAILABLE (DRAINING, DATABASE_UNAVAILABLE).
   */
  public Job createBackup(CreateBackupRequest request) {
    return calls.unary(CREATE_BACKUP, request);
  }

  /**
   * Compares a destination with its ledger. Returns the Job, of kind verify; the result is a BackupVerification
   * that names what is missing, changed, unreadable or unknown. The job succeeds whatever it finds. Works for a disabled
   * destination too. One that refuses the login or shows another host key is paused, as by a run.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"destination_id":"bkd_…","check":"BACKUP_CHECK_READ_BACK","start_time":"2026-11-22T00:00:00Z"}' \
   *   127.0.0.1:50051 heldar.footage.v1.BackupService/VerifyBackup
   * }</pre>
   *
   * <p>Errors: INVALID_ARGUMENT (INVALID_FIELD, WINDOW_REVERSED, REQUEST_ID_REUSED), NOT_FOUND
   * (DESTINATION_NOT_FOUND), FAILED_PRECONDITION (RCLONE_UNAVAILABLE), RESOURCE_EXHAUSTED (QUEUE_FULL),
   * UNAVAILABLE (DRAINING, DATABASE_UNAVAILABLE).
   */
  public Job verifyBackup(VerifyBackupRequest request) {
    return calls.unary(VERIFY_BACKUP, request);
  }

  /**
   * Brings footage back from a destination into a folder and into the catalog, and checks the SHA-256 of every
   * file. Returns the Job; the result is a RestoreSummary. The same call after an interruption goes on: files
   * that are in the folder with the right hash are not fetched again, and no file is ever overwritten. Works
   * for a disabled destination too. One that refuses the login or shows another host key is paused, as by a run.
   * Files that came back and could not enter the catalog are counted by a warning (FILES_LEFT_OUT).
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"destination_id":"bkd_…","start_time":"2026-11-22T10:00:00Z","end_time":"2026-11-22T11:00:00Z","folder":"case-17"}' \
   *   127.0.0.1:50051 heldar.footage.v1.BackupService/RestoreBackup
   * }</pre>
   *
   * <p>Errors: INVALID_ARGUMENT (INVALID_FIELD, WINDOW_REVERSED, REQUEST_ID_REUSED), NOT_FOUND
   * (DESTINATION_NOT_FOUND; NO_FOOTAGE: the ledger has nothing of the selection), FAILED_PRECONDITION
   * (RCLONE_UNAVAILABLE), RESOURCE_EXHAUSTED (QUEUE_FULL), UNAVAILABLE (DRAINING, DATABASE_UNAVAILABLE). That the
   * disk has too little room is an error of the job (DISK_FULL): only it knows what is in the folder already.
   */
  public Job restoreBackup(RestoreBackupRequest request) {
    return calls.unary(RESTORE_BACKUP, request);
  }

  /**
   * Lists what this server's ledger says is at a destination, newest footage first. Does not contact it.
   *
   * <pre>{@code
   * grpcurl -plaintext -d '{"destination_id":"bkd_…","camera_ids":["gate_a_01"],"page_size":100}' \
   *   127.0.0.1:50051 heldar.footage.v1.BackupService/ListBackupObjects
   * }</pre>
   *
   * <p>Errors: INVALID_ARGUMENT (INVALID_FIELD, WINDOW_REVERSED, PAGE_TOKEN_INVALID), NOT_FOUND
   * (DESTINATION_NOT_FOUND).
   */
  public ListBackupObjectsResponse listBackupObjects(ListBackupObjectsRequest request) {
    return calls.unary(LIST_BACKUP_OBJECTS, request);
  }
}
