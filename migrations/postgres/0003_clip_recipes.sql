-- How the bytes of a virtual clip are made (JSON): window, and each recording with size and time of its file.
CREATE TABLE clip_recipes (
    clip_id TEXT COLLATE "C" PRIMARY KEY,
    recipe  TEXT COLLATE "C" NOT NULL
);
