-- Times are microseconds since the Unix epoch (UTC) and end in _us; booleans are 0 or 1.

CREATE TABLE cameras (
    id                 TEXT PRIMARY KEY,
    display_name       TEXT NOT NULL DEFAULT '',
    labels             TEXT NOT NULL DEFAULT '{}',
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
    id             TEXT PRIMARY KEY,
    root           TEXT NOT NULL,
    layout         TEXT NOT NULL,
    zone           TEXT NOT NULL,
    -- 1: the server follows the folder while it grows. 0: it was read once.
    follow         BIGINT NOT NULL,
    create_time_us BIGINT NOT NULL
);

CREATE TABLE segments (
    id                TEXT PRIMARY KEY,
    camera_id         TEXT NOT NULL REFERENCES cameras (id),
    source_id         TEXT NOT NULL REFERENCES sources (id),
    path              TEXT NOT NULL,
    start_us          BIGINT NOT NULL,
    end_us            BIGINT NOT NULL,
    start_accuracy_us BIGINT NOT NULL,
    size_bytes        BIGINT NOT NULL,
    modified_us       BIGINT NOT NULL,
    container         TEXT NOT NULL,
    video_codec       TEXT NOT NULL,
    width             BIGINT NOT NULL,
    height            BIGINT NOT NULL,
    frame_count       BIGINT NOT NULL,
    video_fingerprint TEXT NOT NULL,
    audio_codec       TEXT,
    sample_rate_hz    BIGINT,
    channels          BIGINT,
    audio_fingerprint TEXT,
    key_frame_count   BIGINT NOT NULL,
    -- Offsets of the key frames from the first shown frame, microseconds: little-endian 64-bit integers.
    key_frames        BLOB NOT NULL,
    truncated         BIGINT NOT NULL,
    state             TEXT NOT NULL,
    -- When the file was found to be gone; the row is forgotten some time later.
    missing_since_us  BIGINT,
    create_time_us    BIGINT NOT NULL,
    UNIQUE (source_id, path)
);
CREATE INDEX segments_missing ON segments (missing_since_us) WHERE missing_since_us IS NOT NULL;
CREATE INDEX segments_by_camera_time ON segments (camera_id, start_us, id);
CREATE INDEX segments_missing_by_camera_time ON segments (camera_id, start_us) WHERE state = 'MISSING';
CREATE INDEX segments_by_time ON segments (start_us, id);

-- What a camera has recorded, merged: maximal runs of available segments whose seams are within the gap tolerance.
-- Kept with every change of segments, so that a timeline never has to read them.
CREATE TABLE spans (
    camera_id TEXT NOT NULL,
    start_us  BIGINT NOT NULL,
    end_us    BIGINT NOT NULL,
    PRIMARY KEY (camera_id, start_us)
) WITHOUT ROWID;

CREATE TABLE evidence_locks (
    segment_id     TEXT NOT NULL REFERENCES segments (id),
    -- '' for a lock without an incident.
    incident_id    TEXT NOT NULL,
    camera_id      TEXT NOT NULL,
    start_us       BIGINT NOT NULL,
    end_us         BIGINT NOT NULL,
    create_time_us BIGINT NOT NULL,
    PRIMARY KEY (segment_id, incident_id)
) WITHOUT ROWID;
CREATE INDEX evidence_locks_by_camera_time ON evidence_locks (camera_id, start_us);

CREATE TABLE clips (
    id                 TEXT PRIMARY KEY,
    camera_id          TEXT NOT NULL,
    requested_start_us BIGINT NOT NULL,
    requested_end_us   BIGINT NOT NULL,
    create_time_us     BIGINT NOT NULL,
    expire_time_us     BIGINT,
    file_name          TEXT NOT NULL UNIQUE,
    size_bytes         BIGINT NOT NULL,
    sha256             TEXT NOT NULL,
    media_type         TEXT NOT NULL,
    job_id             TEXT NOT NULL,
    created_by         TEXT NOT NULL,
    -- What was measured in the file and only ever read whole: windows, gaps, formats, labels (JSON).
    details            TEXT NOT NULL
);
CREATE INDEX clips_by_age ON clips (create_time_us, id);
CREATE INDEX clips_by_camera_age ON clips (camera_id, create_time_us, id);
CREATE INDEX clips_by_expiry ON clips (expire_time_us) WHERE expire_time_us IS NOT NULL;

CREATE TABLE jobs (
    id                   TEXT PRIMARY KEY,
    kind                 TEXT NOT NULL,
    state                TEXT NOT NULL,
    priority             BIGINT NOT NULL,
    camera_id            TEXT NOT NULL DEFAULT '',
    policy_id            TEXT NOT NULL DEFAULT '',
    destination_id       TEXT NOT NULL DEFAULT '',
    created_by           TEXT NOT NULL DEFAULT '',
    labels               TEXT NOT NULL DEFAULT '{}',
    retry_of             TEXT NOT NULL DEFAULT '',
    -- Id of what the job will make, taken from the moment the job is written; '' for none.
    output_id            TEXT NOT NULL DEFAULT '',
    request_id           TEXT UNIQUE,
    -- SHA-256 of the request that the request id came with.
    request_digest       TEXT NOT NULL DEFAULT '',
    -- The work itself (JSON); the registry of job kinds reads it.
    spec                 TEXT NOT NULL,
    progress             TEXT,
    result               TEXT,
    error                TEXT,
    warnings             TEXT NOT NULL DEFAULT '[]',
    attempt              BIGINT NOT NULL DEFAULT 0,
    max_attempts         BIGINT NOT NULL,
    -- Grows with every claim and never goes back: a worker writes only while its epoch is the row's.
    epoch                BIGINT NOT NULL DEFAULT 0,
    owner                TEXT NOT NULL DEFAULT '',
    lease_until_us       BIGINT NOT NULL DEFAULT 0,
    next_attempt_time_us BIGINT,
    revision             BIGINT NOT NULL DEFAULT 1,
    create_time_us       BIGINT NOT NULL,
    start_time_us        BIGINT,
    end_time_us          BIGINT,
    update_time_us       BIGINT NOT NULL,
    expire_time_us       BIGINT
);
CREATE INDEX jobs_by_age ON jobs (create_time_us, id);
CREATE INDEX jobs_to_claim ON jobs (kind, priority, create_time_us) WHERE state = 'QUEUED';
CREATE INDEX jobs_live ON jobs (lease_until_us) WHERE state IN ('RUNNING', 'CANCELLING');
CREATE INDEX jobs_by_change ON jobs (update_time_us);
CREATE UNIQUE INDEX jobs_by_live_output ON jobs (output_id)
    WHERE output_id <> '' AND state IN ('QUEUED', 'RUNNING', 'CANCELLING');
