CREATE TABLE destinations (
    id                TEXT PRIMARY KEY,
    kind              TEXT NOT NULL,
    display_name      TEXT NOT NULL,
    enabled           BIGINT NOT NULL,
    transfers         BIGINT,
    -- Bytes a second; 0: no limit.
    bandwidth_limit   BIGINT NOT NULL,
    -- The settings with *** for each secret (JSON).
    settings          TEXT NOT NULL,
    -- The secrets, sealed; NULL when there are none.
    sealed            BLOB,
    labels            TEXT NOT NULL DEFAULT '{}',
    revision          BIGINT NOT NULL DEFAULT 1,
    pause_reason      TEXT,
    pause_message     TEXT NOT NULL DEFAULT '',
    pause_time_us     BIGINT,
    last_success_us   BIGINT,
    free_bytes        BIGINT,
    -- Objects in the ledger and their bytes, kept with every change of them.
    object_count      BIGINT NOT NULL DEFAULT 0,
    stored_bytes      BIGINT NOT NULL DEFAULT 0,
    -- An upper bound for the length of the objects' footage: a window has to look back no further than this.
    longest_object_us BIGINT NOT NULL DEFAULT 0,
    create_time_us    BIGINT NOT NULL,
    update_time_us    BIGINT NOT NULL,
    request_id        TEXT UNIQUE,
    -- SHA-256 of the request that the request id came with; keyed where the request holds a secret.
    request_digest    TEXT NOT NULL DEFAULT ''
);
CREATE INDEX destinations_by_age ON destinations (create_time_us, id);

CREATE TABLE policies (
    id                TEXT PRIMARY KEY,
    destination_id    TEXT NOT NULL REFERENCES destinations (id),
    display_name      TEXT NOT NULL,
    enabled           BIGINT NOT NULL,
    -- What callers set and only ever read whole: schedule, lookback, cameras, hours, check, retention (JSON).
    details           TEXT NOT NULL,
    labels            TEXT NOT NULL DEFAULT '{}',
    revision          BIGINT NOT NULL DEFAULT 1,
    -- The moment that the next run is due; NULL while the policy is disabled.
    next_run_us       BIGINT,
    last_run_us       BIGINT,
    last_success_us   BIGINT,
    last_job_id       TEXT NOT NULL DEFAULT '',
    -- The oldest due moment whose run did not send everything; NULL when there is none.
    overdue_since_us  BIGINT,
    files_unsent      BIGINT NOT NULL DEFAULT 0,
    bytes_unsent      BIGINT NOT NULL DEFAULT 0,
    files_at_risk     BIGINT NOT NULL DEFAULT 0,
    create_time_us    BIGINT NOT NULL,
    update_time_us    BIGINT NOT NULL,
    request_id        TEXT UNIQUE,
    request_digest    TEXT NOT NULL DEFAULT ''
);
CREATE INDEX policies_by_age ON policies (create_time_us, id);
CREATE INDEX policies_by_destination ON policies (destination_id);
CREATE INDEX policies_due ON policies (next_run_us) WHERE next_run_us IS NOT NULL;

-- The ledger: one row for each file at a destination. A row is written only after the file passed its check there.
CREATE TABLE backup_objects (
    destination_id     TEXT NOT NULL REFERENCES destinations (id),
    segment_id         TEXT NOT NULL,
    camera_id          TEXT NOT NULL,
    start_us           BIGINT NOT NULL,
    end_us             BIGINT NOT NULL,
    start_accuracy_us  BIGINT NOT NULL,
    remote_path        TEXT NOT NULL,
    size_bytes         BIGINT NOT NULL,
    sha256             TEXT NOT NULL,
    state              TEXT NOT NULL,
    check_kind         TEXT NOT NULL,
    check_time_us      BIGINT NOT NULL,
    create_time_us     BIGINT NOT NULL,
    job_id             TEXT NOT NULL,
    -- The policy whose run sent it; '' for a run without one. Retention goes by it.
    policy_id          TEXT NOT NULL,
    -- The modification time of the segment's file when it was sent: with the size, it tells whether the file changed.
    source_modified_us BIGINT NOT NULL,
    locked_until_us    BIGINT,
    -- The file of the ledger's copy at the destination that has this row; '' until one was written.
    ledger_path        TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (destination_id, segment_id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX backup_objects_by_path ON backup_objects (destination_id, remote_path);
-- A run compares all segments with all objects. Both indexes hold everything that it compares, in the same order, so
-- that it reads each of them once from end to end and no row.
CREATE INDEX backup_objects_by_time ON backup_objects
    (destination_id, start_us, segment_id, size_bytes, source_modified_us, camera_id, end_us, state);
DROP INDEX segments_by_time;
CREATE INDEX segments_by_time ON segments (start_us, id, size_bytes, modified_us, camera_id, end_us, state);
CREATE INDEX backup_objects_unwritten ON backup_objects (destination_id) WHERE ledger_path = '';

-- One live run of a policy at a time.
CREATE UNIQUE INDEX jobs_by_live_policy ON jobs (policy_id)
    WHERE policy_id <> '' AND state IN ('QUEUED', 'RUNNING', 'CANCELLING');
CREATE INDEX jobs_live_by_destination ON jobs (destination_id)
    WHERE destination_id <> '' AND state IN ('QUEUED', 'RUNNING', 'CANCELLING');
