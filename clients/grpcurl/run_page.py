"""Runs every line of docs/grpcurl.md, in order and in one shell, against a fresh server with footage.

It fails when a line fails, when what comes back is not what the page shows, when a method of the server has no grpcurl
line, and when the page names a method that is not there.

Usage: FOOTAGE_BIN=path/to/footage python3 clients/grpcurl/run_page.py [--show]   with --show it prints what every line says
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

CLIENTS = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CLIENTS / "conformance"))
from sample_server import grpcurl, sample_server  # noqa: E402

PAGE = CLIENTS.parent / "docs/grpcurl.md"
PAGE_ADDRESS = "127.0.0.1:50051"
PAGE_FOLDER = "/srv/backup"
TIME_LIMIT_S = 50
METHOD = re.compile(r"\b((?:[a-z]\w*\.)+[A-Z]\w*)/([A-Z]\w*)\b")


@dataclass
class Line:
    """A command of the page, and what the page shows below it."""

    number: int
    command: str
    shown: list[str] = field(default_factory=list)


def lines_of(page: str) -> list[Line]:
    """The commands of all blocks of a console: after `$ `, and on while a line ends with a backslash."""
    found: list[Line] = []
    in_block = goes_on = False
    for number, text in enumerate(page.splitlines(), 1):
        if text.startswith("```"):
            in_block, goes_on = text == "```console", False
        elif in_block and goes_on:
            found[-1].command += "\n" + text
            goes_on = text.endswith("\\")
        elif in_block and text.startswith("$ "):
            found.append(Line(number, text.removeprefix("$ ")))
            goes_on = text.endswith("\\")
        elif in_block:
            found[-1].shown.append(text)
    return found


def first_not_said(shown: list[str], said: list[str]) -> str | None:
    """The first shown line that is not among those said, in this order; `…` stands for any text, alone for any lines."""
    left = iter(said)
    for line in shown:
        if line.strip() == "…":
            continue
        pattern = re.compile(".*".join(re.escape(part) for part in line.split("…")))
        if not any(pattern.fullmatch(candidate) for candidate in left):
            return line
    return None


def run_in_one_shell(lines: list[Line], folder: Path) -> list[tuple[int | None, list[str]]]:
    """Exit code and output of every line; no code of a line that did not end in time, nor of those after it."""
    script = "".join(
        f"{{ {line.command}\n}} >{number}.said 2>&1 </dev/null; echo $? >{number}.code\n" for number, line in enumerate(lines)
    )
    with subprocess.Popen(["bash", "-c", script], cwd=folder, start_new_session=True) as shell:
        try:
            shell.wait(timeout=TIME_LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(shell.pid, signal.SIGKILL)
    return [(exit_code(folder / f"{number}.code"), text_of(folder / f"{number}.said")) for number in range(len(lines))]


def exit_code(file: Path) -> int | None:
    return int(file.read_text()) if file.exists() else None


def text_of(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def faults_of(line: Line, code: int | None, said: list[str]) -> list[str]:
    where = f"{PAGE.name}:{line.number}: {line.command}"
    if code is None:
        return [f"{where}\n  did not end, or was not come to, within {TIME_LIMIT_S} s"]
    # A line that is there to show an error must fail, and every other must not.
    shows_error = any(shown.startswith(("ERROR:", "Failed ")) or '"code": "' in shown for shown in line.shown)
    if (code != 0) != shows_error:
        return [f"{where}\n  ended with {code}:\n" + "\n".join(said[-20:])]
    if not line.shown and said and said != ["{}"]:
        return [f"{where}\n  the page does not show what comes back:\n" + "\n".join(said[:20])]
    missing = first_not_said(line.shown, said)
    if missing is not None:
        return [f"{where}\n  did not say, after what is shown before it: {missing}\n  but:\n" + "\n".join(said[:60])]
    return []


def methods_of_server(address: str) -> set[str]:
    services = grpcurl(address, "list").split()
    return {
        f"{service}/{method.rsplit('.', 1)[1]}" for service in services for method in grpcurl(address, "list", service).split()
    }


def faults_of_names(page: str, lines: list[Line], present: set[str]) -> list[str]:
    called = {
        f"{service}/{method}"
        for line in lines
        if line.command.startswith("grpcurl ")
        for service, method in METHOD.findall(line.command)
    }
    named = {f"{service}/{method}" for service, method in METHOD.findall(page)}
    return [f"{PAGE.name} has no grpcurl line for {method}" for method in sorted(present - called)] + [
        f"{PAGE.name} names {method}, which the server does not have" for method in sorted(named - present)
    ]


def main() -> None:
    page = PAGE.read_text()
    lines = lines_of(page)
    with sample_server() as server, tempfile.TemporaryDirectory() as folder:
        present = methods_of_server(server.address)
        backup = server.site / "backups/page"
        backup.mkdir()

        def here(text: str) -> str:
            return text.replace(PAGE_ADDRESS, server.address).replace(PAGE_FOLDER, str(backup))

        lines = [Line(line.number, here(line.command), [here(shown) for shown in line.shown]) for line in lines]
        results = run_in_one_shell(lines, Path(folder))
    if "--show" in sys.argv:
        for line, (code, said) in zip(lines, results):
            print(f"{line.number}: $ {line.command}\n({code})\n" + "\n".join(said))
    faults = faults_of_names(page, lines, present)
    for line, (code, said) in zip(lines, results):
        faults += faults_of(line, code, said)
    if faults:
        raise SystemExit("\n\n".join([*faults, f"error: {len(faults)} faults of {PAGE.name}"]))
    print(f"{len(lines)} lines of {PAGE.name} were run, {len(present)} methods of the server are all among them")


main()
