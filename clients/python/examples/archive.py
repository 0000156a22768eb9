"""Saves the last minute of up to three cameras as one archive that proves what it contains, on asyncio.

    python archive.py [ADDRESS]
"""

import asyncio
import sys
from datetime import timedelta, timezone

from heldar_footage import AsyncFootage, progress_line


async def main(address: str = "127.0.0.1:50051") -> None:
    async with AsyncFootage(address) as footage:
        cameras = [camera async for camera in footage.cameras() if camera.segment_count][:3]
        end = max(camera.last_segment_time.ToDatetime(timezone.utc) for camera in cameras)
        job = await footage.create_archive(
            [camera.id for camera in cameras],
            end - timedelta(minutes=1),
            end,
            case_id="2026-117",
            operator="control room",
            reason="example",
        )
        # The block cancels the job when the program is ended by Ctrl-C.
        async with job:
            async for state in job:
                print(progress_line(state))
        archive = await job.result()
        path = await footage.download(archive)
        print(f"{path}: {archive.entry_count} entries of {len(archive.cameras)} cameras, SHA-256 {archive.sha256}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
