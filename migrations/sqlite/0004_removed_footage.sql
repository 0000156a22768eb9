-- Up to where the retention of a policy removed the footage of a camera. What ends before is not sent again by that
-- policy: with a limit of bytes it would be removed and sent with every run.
CREATE TABLE removed_footage (
    policy_id        TEXT NOT NULL,
    camera_id        TEXT NOT NULL,
    removed_until_us BIGINT NOT NULL,
    PRIMARY KEY (policy_id, camera_id)
) WITHOUT ROWID;
