//! Footage: reading MP4, building ffmpeg command lines, cutting and measuring clips.
