-- How the bytes of a virtual clip are made (JSON): window, and each recording with size and time of its file.
CREATE TABLE clip_recipes (
    clip_id TEXT PRIMARY KEY,
    recipe  TEXT NOT NULL
);
