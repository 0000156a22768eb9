"""Progress in words."""

from __future__ import annotations

from heldar.footage.v1.job_pb2 import Job, JobState


def progress_line(job: Job) -> str:
    """How far a job is, in a line for people: `running · cutting · 44 % · 47.4 of 107.0 MB`."""
    progress = job.progress
    # A newer server may know more states than this client.
    state = JobState.DESCRIPTOR.values_by_number.get(job.state)
    words = [state.name.removeprefix("JOB_STATE_").lower() if state else "", progress.phase]
    if progress.HasField("fraction"):
        words.append(f"{progress.fraction:.0%}".replace("%", " %"))
    if progress.bytes_total:
        words.append(f"{progress.bytes_done / 1e6:.1f} of {progress.bytes_total / 1e6:.1f} MB")
    return " · ".join(word for word in words if word)
