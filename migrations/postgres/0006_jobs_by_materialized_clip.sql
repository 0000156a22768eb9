-- Which jobs give which virtual clip its file. Several may do so for the same clip, so that it is not the output of any.
ALTER TABLE jobs ADD COLUMN materialized_clip_id TEXT COLLATE "C" NOT NULL DEFAULT '';
UPDATE jobs SET materialized_clip_id = COALESCE(substring(spec FROM '"clip_id":"([^"]*)"'), '')
    WHERE kind = 'CLIP' AND spec LIKE '{"materialize_clip":%';
CREATE INDEX jobs_by_materialized_clip ON jobs (materialized_clip_id) WHERE materialized_clip_id <> '';
