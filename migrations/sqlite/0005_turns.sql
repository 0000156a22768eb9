-- Callers take turns: each job of a caller has a turn after the one before, and the smallest that waits is claimed first.
ALTER TABLE jobs ADD COLUMN turn BIGINT NOT NULL DEFAULT 0;
DROP INDEX jobs_to_claim;
CREATE INDEX jobs_to_claim ON jobs (kind, priority, turn, create_time_us, id) WHERE state = 'QUEUED';
-- What a new job's turn follows from: the greatest turn that was claimed, and the caller's own last.
CREATE INDEX jobs_claimed_by_turn ON jobs (kind, priority, turn) WHERE epoch > 0;
CREATE INDEX jobs_by_caller_turn ON jobs (created_by, kind, priority, turn);
CREATE INDEX jobs_by_expiry ON jobs (expire_time_us) WHERE expire_time_us IS NOT NULL;
