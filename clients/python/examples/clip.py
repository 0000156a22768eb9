"""Saves the last minute of a camera.

    python clip.py [ADDRESS [CAMERA]]
"""

import sys
from datetime import timedelta, timezone

from heldar_footage import Footage, JobFailedError, progress_line


def main(address: str = "127.0.0.1:50051", camera_id: str | None = None) -> None:
    with Footage(address) as footage:
        camera = next(camera for camera in footage.cameras() if camera_id in (None, camera.id) and camera.segment_count)
        end = camera.last_segment_time.ToDatetime(timezone.utc)
        job = footage.create_clip(camera.id, end - timedelta(minutes=1), end, created_by="example")
        try:
            clip = job.result(on_progress=lambda job: print(progress_line(job)))
        except JobFailedError as error:
            sys.exit(f"no clip: {error}")
        path = footage.download(clip)
        print(f"{path}: {clip.size_bytes} bytes, SHA-256 {clip.sha256}, gaps: {len(clip.gaps)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
