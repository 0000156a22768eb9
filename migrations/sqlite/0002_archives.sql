-- Finished archives, and the record of what left the service.

CREATE TABLE archives (
    id                 TEXT PRIMARY KEY,
    create_time_us     BIGINT NOT NULL,
    expire_time_us     BIGINT,
    file_name          TEXT NOT NULL UNIQUE,
    size_bytes         BIGINT NOT NULL,
    sha256             TEXT NOT NULL,
    case_id            TEXT NOT NULL,
    operator           TEXT NOT NULL,
    -- What was delivered, over all cameras; both NULL when nothing was.
    delivered_start_us BIGINT,
    delivered_end_us   BIGINT,
    job_id             TEXT NOT NULL,
    labels             TEXT NOT NULL,
    -- Everything else about it, only ever read whole (JSON).
    details            TEXT NOT NULL
);
CREATE INDEX archives_by_age ON archives (create_time_us, id);
CREATE INDEX archives_by_expiry ON archives (expire_time_us) WHERE expire_time_us IS NOT NULL;

-- The cameras of which an archive holds footage.
CREATE TABLE archive_cameras (
    archive_id TEXT NOT NULL REFERENCES archives (id) ON DELETE CASCADE,
    camera_id  TEXT NOT NULL,
    PRIMARY KEY (archive_id, camera_id)
) WITHOUT ROWID;
CREATE INDEX archive_cameras_by_camera ON archive_cameras (camera_id);

-- Who exported and who took what, and when. Rows are only ever added.
CREATE TABLE export_records (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    time_us    BIGINT NOT NULL,
    -- CREATED, STREAMED (once when it begins, without a hash, and once when all of it was sent), DOWNLOADED,
    -- VERIFIED, DELETED, EXPIRED
    action     TEXT NOT NULL,
    archive_id TEXT NOT NULL,
    sha256     TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    -- Who asked, as the request said.
    created_by TEXT NOT NULL,
    operator   TEXT NOT NULL,
    case_id    TEXT NOT NULL,
    reason     TEXT NOT NULL,
    -- Network address of the caller; '' where the service itself acted.
    peer       TEXT NOT NULL,
    -- More for people, such as the part that was downloaded.
    note       TEXT NOT NULL
);
CREATE INDEX export_records_by_archive ON export_records (archive_id);
CREATE TRIGGER export_records_stay BEFORE DELETE ON export_records
BEGIN
    SELECT RAISE(ABORT, 'export records are only ever added');
END;
-- REPLACE takes rows away without asking the trigger above (SQLite, "ON CONFLICT clause").
CREATE TRIGGER export_records_are_not_replaced BEFORE INSERT ON export_records
WHEN EXISTS (SELECT 1 FROM export_records WHERE id = NEW.id)
BEGIN
    SELECT RAISE(ABORT, 'export records are only ever added');
END;
CREATE TRIGGER export_records_do_not_change BEFORE UPDATE ON export_records
BEGIN
    SELECT RAISE(ABORT, 'export records are only ever added');
END;
