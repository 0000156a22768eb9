-- The folder of links to the recordings from which the file of a clip is made again, should the disk not have it yet; empty in
-- the recipe of a clip that has no file.
ALTER TABLE clip_recipes ADD COLUMN held_in TEXT NOT NULL DEFAULT '';
CREATE INDEX clip_recipes_held ON clip_recipes (held_in) WHERE held_in <> '';
