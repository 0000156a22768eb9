-- Recipes of clips with a file that may not be on the disk yet, from which it is made again should it be lost.
ALTER TABLE clip_recipes ADD COLUMN has_file BIGINT NOT NULL DEFAULT 0;
