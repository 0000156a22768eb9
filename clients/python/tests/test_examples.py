"""The examples, run as a person would."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import CLIENTS, Server
from heldar_footage import Footage

EXAMPLES = CLIENTS / "python/examples"


def run(name: str, folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *arguments], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(autouse=True)
def imported(footage: Footage) -> None:
    """The examples pick their cameras from what was imported."""


def test_the_clip_example_saves_the_last_minute(server: Server, tmp_path: Path) -> None:
    said = run("clip.py", tmp_path, server.address, "gate_a_01")
    assert "succeeded" in said
    (saved,) = tmp_path.iterdir()
    assert str(saved.stat().st_size) in said


def test_the_archive_example_saves_three_cameras(server: Server, tmp_path: Path) -> None:
    assert "of 3 cameras" in run("archive.py", tmp_path, server.address)
    (saved,) = tmp_path.iterdir()
    assert zipfile.ZipFile(saved).testzip() is None


def test_the_backup_example_sends_everything_once(server: Server, tmp_path: Path) -> None:
    folder = server.folder / "backups" / "example"
    os.mkdir(folder)
    assert "17 files sent, 0 failed" in run("backup.py", tmp_path, str(folder), server.address)
    assert "0 files sent, 0 failed" in run("backup.py", tmp_path, str(folder), server.address)


def test_the_page_begins_with_a_working_program(server: Server, tmp_path: Path) -> None:
    page = (CLIENTS / "python/README.md").read_text()
    program = page.split("```python\n", 1)[1].split("```", 1)[0].replace("127.0.0.1:50051", server.address)
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert [path.suffix for path in tmp_path.iterdir()] == [".mp4"]
