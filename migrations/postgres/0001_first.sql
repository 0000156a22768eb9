-- The same tables as in migrations/sqlite. Times are microseconds since the Unix epoch (UTC) and end in _us. Texts are in
-- the order of their bytes, as the program sorts them, whatever the database's own order is.

-- Two functions under the names that SQLite has for them, so that statements have one text for both databases.

-- The elements of an array, or the pairs of an object.
CREATE FUNCTION json_each(document TEXT) RETURNS TABLE (key TEXT, value TEXT) LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CAST(NULL AS TEXT), element.value
    FROM json_array_elements_text(
        CASE json_typeof(CAST(document AS JSON)) WHEN 'array' THEN CAST(document AS JSON) ELSE '[]' END) AS element
    UNION ALL
    SELECT pair.key, pair.value
    FROM json_each_text(
        CASE json_typeof(CAST(document AS JSON)) WHEN 'object' THEN CAST(document AS JSON) ELSE '{}' END) AS pair
$$;
CREATE FUNCTION json_of_texts(texts TEXT[]) RETURNS TEXT LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CAST(array_to_json(texts) AS TEXT)
$$;
CREATE AGGREGATE json_group_array(TEXT) (SFUNC = array_append, STYPE = TEXT[], INITCOND = '{}', FINALFUNC = json_of_texts);

CREATE TABLE cameras (
    id                 TEXT COLLATE "C" PRIMARY KEY,
    display_name       TEXT COLLATE "C" NOT NULL DEFAULT '',
    labels             TEXT COLLATE "C" NOT NULL DEFAULT '{}',
    revision           BIGINT NOT NULL DEFAULT 1,
    segment_count      BIGINT NOT NULL DEFAULT 0,
    size_bytes         BIGINT NOT NULL DEFAULT 0,
    -- An upper bound for the length of this camera's segments: a window has to look back no further than this.
    longest_segment_us BIGINT NOT NULL DEFAULT 0,
    create_time_us     BIGINT NOT NULL,
    update_time_us     BIGINT NOT NULL
);
CREATE INDEX cameras_by_age ON cameras (create_time_us, id);

CREATE TABLE sources (
    id             TEXT COLLATE "C" PRIMARY KEY,
    root           TEXT COLLATE "C" NOT NULL,
    layout         TEXT COLLATE "C" NOT NULL,
    zone           TEXT COLLATE "C" NOT NULL,
    -- Whether the server follows the folder while it grows; if not, it was read once.
    follow         BOOLEAN NOT NULL,
    create_time_us BIGINT NOT NULL
);

CREATE TABLE segments (
    id                TEXT COLLATE "C" PRIMARY KEY,
    camera_id         TEXT COLLATE "C" NOT NULL REFERENCES cameras (id),
    source_id         TEXT COLLATE "C" NOT NULL REFERENCES sources (id),
    path              TEXT COLLATE "C" NOT NULL,
    start_us          BIGINT NOT NULL,
    end_us            BIGINT NOT NULL,
    start_accuracy_us BIGINT NOT NULL,
    size_bytes        BIGINT NOT NULL,
    modified_us       BIGINT NOT NULL,
    container         TEXT COLLATE "C" NOT NULL,
    video_codec       TEXT COLLATE "C" NOT NULL,
    width             BIGINT NOT NULL,
    height            BIGINT NOT NULL,
    frame_count       BIGINT NOT NULL,
    video_fingerprint TEXT COLLATE "C" NOT NULL,
    audio_codec       TEXT COLLATE "C",
    sample_rate_hz    BIGINT,
    channels          BIGINT,
    audio_fingerprint TEXT COLLATE "C",
    key_frame_count   BIGINT NOT NULL,
    -- Offsets of the key frames from the first shown frame, microseconds: little-endian 64-bit integers.
    key_frames        BYTEA NOT NULL,
    truncated         BOOLEAN NOT NULL,
    state             TEXT COLLATE "C" NOT NULL,
    -- When the file was found to be gone; the row is forgotten some time later.
    missing_since_us  BIGINT,
    create_time_us    BIGINT NOT NULL,
    UNIQUE (source_id, path)
);
CREATE INDEX segments_missing ON segments (missing_since_us) WHERE missing_since_us IS NOT NULL;
CREATE INDEX segments_by_camera_time ON segments (camera_id, start_us, id);
CREATE INDEX segments_missing_by_camera_time ON segments (camera_id, start_us) WHERE state = 'MISSING';

-- What a camera has recorded, merged: maximal runs of available segments whose seams are within the gap tolerance.
-- Kept with every change of segments, so that a timeline never has to read them.
CREATE TABLE spans (
    camera_id TEXT COLLATE "C" NOT NULL,
    start_us  BIGINT NOT NULL,
    end_us    BIGINT NOT NULL,
    PRIMARY KEY (camera_id, start_us)
);

CREATE TABLE evidence_locks (
    segment_id     TEXT COLLATE "C" NOT NULL REFERENCES segments (id),
    -- '' for a lock without an incident.
    incident_id    TEXT COLLATE "C" NOT NULL,
    camera_id      TEXT COLLATE "C" NOT NULL,
    start_us       BIGINT NOT NULL,
    end_us         BIGINT NOT NULL,
    create_time_us BIGINT NOT NULL,
    PRIMARY KEY (segment_id, incident_id)
);
CREATE INDEX evidence_locks_by_camera_time ON evidence_locks (camera_id, start_us);

CREATE TABLE clips (
    id                 TEXT COLLATE "C" PRIMARY KEY,
    camera_id          TEXT COLLATE "C" NOT NULL,
    requested_start_us BIGINT NOT NULL,
    requested_end_us   BIGINT NOT NULL,
    create_time_us     BIGINT NOT NULL,
    expire_time_us     BIGINT,
    file_name          TEXT COLLATE "C" NOT NULL UNIQUE,
    size_bytes         BIGINT NOT NULL,
    sha256             TEXT COLLATE "C" NOT NULL,
    media_type         TEXT COLLATE "C" NOT NULL,
    job_id             TEXT COLLATE "C" NOT NULL,
    created_by         TEXT COLLATE "C" NOT NULL,
    -- What was measured in the file and only ever read whole: windows, gaps, formats, labels (JSON).
    details            TEXT COLLATE "C" NOT NULL
);
CREATE INDEX clips_by_age ON clips (create_time_us, id);
CREATE INDEX clips_by_camera_age ON clips (camera_id, create_time_us, id);
CREATE INDEX clips_by_expiry ON clips (expire_time_us) WHERE expire_time_us IS NOT NULL;

CREATE TABLE jobs (
    id                   TEXT COLLATE "C" PRIMARY KEY,
    kind                 TEXT COLLATE "C" NOT NULL,
    state                TEXT COLLATE "C" NOT NULL,
    priority             BIGINT NOT NULL,
    camera_id            TEXT COLLATE "C" NOT NULL DEFAULT '',
    policy_id            TEXT COLLATE "C" NOT NULL DEFAULT '',
    destination_id       TEXT COLLATE "C" NOT NULL DEFAULT '',
    created_by           TEXT COLLATE "C" NOT NULL DEFAULT '',
    labels               TEXT COLLATE "C" NOT NULL DEFAULT '{}',
    retry_of             TEXT COLLATE "C" NOT NULL DEFAULT '',
    -- Id of what the job will make, taken from the moment the job is written; '' for none.
    output_id            TEXT COLLATE "C" NOT NULL DEFAULT '',
    request_id           TEXT COLLATE "C" UNIQUE,
    -- SHA-256 of the request that the request id came with.
    request_digest       TEXT COLLATE "C" NOT NULL DEFAULT '',
    -- The work itself (JSON); the registry of job kinds reads it.
    spec                 TEXT COLLATE "C" NOT NULL,
    progress             TEXT COLLATE "C",
    result               TEXT COLLATE "C",
    error                TEXT COLLATE "C",
    warnings             TEXT COLLATE "C" NOT NULL DEFAULT '[]',
    attempt              BIGINT NOT NULL DEFAULT 0,
    max_attempts         BIGINT NOT NULL,
    -- Grows with every claim and never goes back: a worker writes only while its epoch is the row's.
    epoch                BIGINT NOT NULL DEFAULT 0,
    owner                TEXT COLLATE "C" NOT NULL DEFAULT '',
    lease_until_us       BIGINT NOT NULL DEFAULT 0,
    next_attempt_time_us BIGINT,
    revision             BIGINT NOT NULL DEFAULT 1,
    create_time_us       BIGINT NOT NULL,
    start_time_us        BIGINT,
    end_time_us          BIGINT,
    update_time_us       BIGINT NOT NULL,
    expire_time_us       BIGINT,
    -- Callers take turns: each job of a caller has a turn after the one before, and the smallest that waits is claimed first.
    turn                 BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX jobs_by_age ON jobs (create_time_us, id);
CREATE INDEX jobs_to_claim ON jobs (kind, priority, turn, create_time_us, id) WHERE state = 'QUEUED';
-- What a new job's turn follows from: the greatest turn that was claimed, and the caller's own last.
CREATE INDEX jobs_claimed_by_turn ON jobs (kind, priority, turn) WHERE epoch > 0;
CREATE INDEX jobs_by_caller_turn ON jobs (created_by, kind, priority, turn);
CREATE INDEX jobs_by_expiry ON jobs (expire_time_us) WHERE expire_time_us IS NOT NULL;
CREATE INDEX jobs_live ON jobs (lease_until_us) WHERE state IN ('RUNNING', 'CANCELLING');
CREATE INDEX jobs_by_change ON jobs (update_time_us);
CREATE UNIQUE INDEX jobs_by_live_output ON jobs (output_id)
    WHERE output_id <> '' AND state IN ('QUEUED', 'RUNNING', 'CANCELLING');

-- Finished archives, and the record of what left the service.

CREATE TABLE archives (
    id                 TEXT COLLATE "C" PRIMARY KEY,
    create_time_us     BIGINT NOT NULL,
    expire_time_us     BIGINT,
    file_name          TEXT COLLATE "C" NOT NULL UNIQUE,
    size_bytes         BIGINT NOT NULL,
    sha256             TEXT COLLATE "C" NOT NULL,
    case_id            TEXT COLLATE "C" NOT NULL,
    operator           TEXT COLLATE "C" NOT NULL,
    -- What was delivered, over all cameras; both NULL when nothing was.
    delivered_start_us BIGINT,
    delivered_end_us   BIGINT,
    job_id             TEXT COLLATE "C" NOT NULL,
    labels             TEXT COLLATE "C" NOT NULL,
    -- Everything else about it, only ever read whole (JSON).
    details            TEXT COLLATE "C" NOT NULL
);
CREATE INDEX archives_by_age ON archives (create_time_us, id);
CREATE INDEX archives_by_expiry ON archives (expire_time_us) WHERE expire_time_us IS NOT NULL;

-- The cameras of which an archive holds footage.
CREATE TABLE archive_cameras (
    archive_id TEXT COLLATE "C" NOT NULL REFERENCES archives (id) ON DELETE CASCADE,
    camera_id  TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (archive_id, camera_id)
);
CREATE INDEX archive_cameras_by_camera ON archive_cameras (camera_id);

-- Who exported and who took what, and when. Rows are only ever added.
CREATE TABLE export_records (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    time_us    BIGINT NOT NULL,
    -- CREATED, STREAMED (once when it begins, without a hash, and once when all of it was sent), DOWNLOADED,
    -- VERIFIED, DELETED, EXPIRED
    action     TEXT COLLATE "C" NOT NULL,
    archive_id TEXT COLLATE "C" NOT NULL,
    sha256     TEXT COLLATE "C" NOT NULL,
    size_bytes BIGINT NOT NULL,
    -- Who asked, as the request said.
    created_by TEXT COLLATE "C" NOT NULL,
    operator   TEXT COLLATE "C" NOT NULL,
    case_id    TEXT COLLATE "C" NOT NULL,
    reason     TEXT COLLATE "C" NOT NULL,
    -- Network address of the caller; '' where the service itself acted.
    peer       TEXT COLLATE "C" NOT NULL,
    -- More for people, such as the part that was downloaded.
    note       TEXT COLLATE "C" NOT NULL
);
CREATE INDEX export_records_by_archive ON export_records (archive_id);
CREATE FUNCTION export_records_stay() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'export records are only ever added';
END;
$$;
CREATE TRIGGER export_records_stay BEFORE DELETE OR UPDATE OR TRUNCATE ON export_records
    FOR EACH STATEMENT EXECUTE FUNCTION export_records_stay();

CREATE TABLE destinations (
    id                TEXT COLLATE "C" PRIMARY KEY,
    kind              TEXT COLLATE "C" NOT NULL,
    display_name      TEXT COLLATE "C" NOT NULL,
    enabled           BOOLEAN NOT NULL,
    transfers         BIGINT,
    -- Bytes a second; 0: no limit.
    bandwidth_limit   BIGINT NOT NULL,
    -- The settings with *** for each secret (JSON).
    settings          TEXT COLLATE "C" NOT NULL,
    -- The secrets, sealed; NULL when there are none.
    sealed            BYTEA,
    labels            TEXT COLLATE "C" NOT NULL DEFAULT '{}',
    revision          BIGINT NOT NULL DEFAULT 1,
    pause_reason      TEXT COLLATE "C",
    pause_message     TEXT COLLATE "C" NOT NULL DEFAULT '',
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
    request_id        TEXT COLLATE "C" UNIQUE,
    -- SHA-256 of the request that the request id came with; keyed where the request holds a secret.
    request_digest    TEXT COLLATE "C" NOT NULL DEFAULT ''
);
CREATE INDEX destinations_by_age ON destinations (create_time_us, id);

CREATE TABLE policies (
    id                TEXT COLLATE "C" PRIMARY KEY,
    destination_id    TEXT COLLATE "C" NOT NULL REFERENCES destinations (id),
    display_name      TEXT COLLATE "C" NOT NULL,
    enabled           BOOLEAN NOT NULL,
    -- What callers set and only ever read whole: schedule, lookback, cameras, hours, check, retention (JSON).
    details           TEXT COLLATE "C" NOT NULL,
    labels            TEXT COLLATE "C" NOT NULL DEFAULT '{}',
    revision          BIGINT NOT NULL DEFAULT 1,
    -- The moment that the next run is due; NULL while the policy is disabled.
    next_run_us       BIGINT,
    last_run_us       BIGINT,
    last_success_us   BIGINT,
    last_job_id       TEXT COLLATE "C" NOT NULL DEFAULT '',
    -- The oldest due moment whose run did not send everything; NULL when there is none.
    overdue_since_us  BIGINT,
    files_unsent      BIGINT NOT NULL DEFAULT 0,
    bytes_unsent      BIGINT NOT NULL DEFAULT 0,
    files_at_risk     BIGINT NOT NULL DEFAULT 0,
    create_time_us    BIGINT NOT NULL,
    update_time_us    BIGINT NOT NULL,
    request_id        TEXT COLLATE "C" UNIQUE,
    request_digest    TEXT COLLATE "C" NOT NULL DEFAULT ''
);
CREATE INDEX policies_by_age ON policies (create_time_us, id);
CREATE INDEX policies_by_destination ON policies (destination_id);
CREATE INDEX policies_due ON policies (next_run_us) WHERE next_run_us IS NOT NULL;

-- The ledger: one row for each file at a destination. A row is written only after the file passed its check there.
CREATE TABLE backup_objects (
    destination_id     TEXT COLLATE "C" NOT NULL REFERENCES destinations (id),
    segment_id         TEXT COLLATE "C" NOT NULL,
    camera_id          TEXT COLLATE "C" NOT NULL,
    start_us           BIGINT NOT NULL,
    end_us             BIGINT NOT NULL,
    start_accuracy_us  BIGINT NOT NULL,
    remote_path        TEXT COLLATE "C" NOT NULL,
    size_bytes         BIGINT NOT NULL,
    sha256             TEXT COLLATE "C" NOT NULL,
    state              TEXT COLLATE "C" NOT NULL,
    check_kind         TEXT COLLATE "C" NOT NULL,
    check_time_us      BIGINT NOT NULL,
    create_time_us     BIGINT NOT NULL,
    job_id             TEXT COLLATE "C" NOT NULL,
    -- The policy whose run sent it; '' for a run without one. Retention goes by it.
    policy_id          TEXT COLLATE "C" NOT NULL,
    -- The modification time of the segment's file when it was sent: with the size, it tells whether the file changed.
    source_modified_us BIGINT NOT NULL,
    locked_until_us    BIGINT,
    -- The file of the ledger's copy at the destination that has this row; '' until one was written.
    ledger_path        TEXT COLLATE "C" NOT NULL DEFAULT '',
    PRIMARY KEY (destination_id, segment_id)
);
CREATE UNIQUE INDEX backup_objects_by_path ON backup_objects (destination_id, remote_path);
-- A run compares all segments with all objects. Both indexes hold everything that it compares, in the same order, so
-- that it reads each of them once from end to end and no row.
CREATE INDEX backup_objects_by_time ON backup_objects
    (destination_id, start_us, segment_id, size_bytes, source_modified_us, camera_id, end_us, state);
CREATE INDEX segments_by_time ON segments (start_us, id, size_bytes, modified_us, camera_id, end_us, state);
CREATE INDEX backup_objects_unwritten ON backup_objects (destination_id) WHERE ledger_path = '';

-- One live run of a policy at a time.
CREATE UNIQUE INDEX jobs_by_live_policy ON jobs (policy_id)
    WHERE policy_id <> '' AND state IN ('QUEUED', 'RUNNING', 'CANCELLING');
CREATE INDEX jobs_live_by_destination ON jobs (destination_id)
    WHERE destination_id <> '' AND state IN ('QUEUED', 'RUNNING', 'CANCELLING');

-- Up to where the retention of a policy removed the footage of a camera. What ends before is not sent again by that
-- policy: with a limit of bytes it would be removed and sent with every run.
CREATE TABLE removed_footage (
    policy_id        TEXT COLLATE "C" NOT NULL,
    camera_id        TEXT COLLATE "C" NOT NULL,
    removed_until_us BIGINT NOT NULL,
    PRIMARY KEY (policy_id, camera_id)
);

-- One run at a time sends to a destination, also when two nodes claim at the same moment.
CREATE UNIQUE INDEX jobs_by_sending_destination ON jobs (destination_id)
    WHERE kind = 'BACKUP' AND destination_id <> '' AND state IN ('RUNNING', 'CANCELLING');

-- What one node at a time does for all, until it gives it up or is not heard of any more.
CREATE TABLE duties (
    name     TEXT COLLATE "C" PRIMARY KEY,
    owner    TEXT COLLATE "C" NOT NULL,
    until_us BIGINT NOT NULL
);

-- The nodes on which somebody watches jobs, so that others write progress as often as a watcher wants to see it.
CREATE TABLE watching_nodes (
    owner    TEXT COLLATE "C" PRIMARY KEY,
    until_us BIGINT NOT NULL
);
