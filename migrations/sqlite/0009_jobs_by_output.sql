-- Which job made what, whether it has ended or not: asked for each finished file of which no row is known.
CREATE INDEX jobs_by_output ON jobs (output_id) WHERE output_id <> '';
