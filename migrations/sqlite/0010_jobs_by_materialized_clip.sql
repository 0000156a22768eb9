-- Which jobs give which virtual clip its file. Several may do so for the same clip, so that it is not the output of any.
ALTER TABLE jobs ADD COLUMN materialized_clip_id TEXT NOT NULL DEFAULT '';
UPDATE jobs SET materialized_clip_id = COALESCE(json_extract(spec, '$.materialize_clip.clip_id'), '')
    WHERE kind = 'CLIP' AND CASE WHEN json_valid(spec) THEN json_type(spec, '$.materialize_clip.clip_id') = 'text' END;
CREATE INDEX jobs_by_materialized_clip ON jobs (materialized_clip_id) WHERE materialized_clip_id <> '';
