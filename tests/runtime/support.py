"""What the runtime tests share: places servers can live in, and ways to look at processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from hub.config import ROOT

HOLDER = """
import sys, time
from pathlib import Path
from hub.runtime.embedded import ensure_services
services = ensure_services(Path(sys.argv[1]), durable=sys.argv[2] == "durable")
print("ready", flush=True)
time.sleep(300)
"""


def hold_services(state_dir: Path, *, durable: bool) -> subprocess.Popen[str]:
    """A process that owns embedded services and does nothing else; returns when they answer."""
    how = "durable" if durable else "fast"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(state_dir), how], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "ready\n"
    return holder


def remembered(state_dir: Path) -> dict[str, dict[str, str]]:
    content: dict[str, dict[str, str]] = json.loads((state_dir / "services.json").read_text())
    return content


def processes_of(needle: str) -> list[int]:
    """Processes, zombies aside, with `needle` in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if needle in command:
                found.append(int(entry.name))
    return found


def is_running(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return status not in "ZX"


def eventually(question: Callable[[], object], timeout: float = 20.0) -> bool:
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if question():
            return True
        time.sleep(0.05)
    return False
