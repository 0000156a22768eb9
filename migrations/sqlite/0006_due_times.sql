-- One run for each due moment of a policy, whoever asks: the moment that a job is the run of; NULL for all others, retries
-- among them.
ALTER TABLE jobs ADD COLUMN due_time_us BIGINT;
CREATE UNIQUE INDEX jobs_one_per_due_time ON jobs (policy_id, due_time_us) WHERE due_time_us IS NOT NULL;
