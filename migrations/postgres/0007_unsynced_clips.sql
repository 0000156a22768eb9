-- In which run of the machine the file of a clip was written that nobody waited for to be on the disk; empty once it is.
ALTER TABLE clips ADD COLUMN unsynced_in TEXT NOT NULL DEFAULT '';
CREATE INDEX clips_unsynced ON clips (create_time_us) WHERE unsynced_in <> '';
