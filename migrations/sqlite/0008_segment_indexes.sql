-- Where the samples of a segment lie in its file, so that a clip need not read the file's own tables. Written and replaced
-- together with the segment; segments of before this table, of other containers than MP4, and with more samples than are
-- worth keeping have none.
CREATE TABLE segment_indexes (
    segment_id TEXT PRIMARY KEY REFERENCES segments (id) ON DELETE CASCADE,
    -- In the form of media::mp4::SourceIndex::encode.
    samples    BLOB NOT NULL
);
