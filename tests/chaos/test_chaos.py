"""The whole hub under fire. A seed that ever broke a promise is added to SEEDS, for ever."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from hub.config import ROOT

pytestmark = pytest.mark.chaos

SECONDS = int(os.environ.get("CHAOS_SECONDS", "60"))
SEEDS = [int(seed) for seed in os.environ.get("CHAOS_SEEDS", "1").split(",")]


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_and_nothing_is_done_twice(seed: int) -> None:
    command = [sys.executable, "-m", "hub.chaos", "--seconds", str(SECONDS), "--seed", str(seed), "--json"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(ran.stdout, ran.stderr)
    report = json.loads(ran.stdout)
    assert sum(report["faults"].values()) >= SECONDS / 3 and sum(report["vendor faults"].values()) > 0, "there was no fire"
    assert report["books"]["documents"] > 0 and report["events accepted"] > 0, "there was no load"
    assert report["events lost"] == [] and report["left for people"] == [] and report["broken"] == []
    books = report["books"]
    assert (books["lost"], books["duplicate"], books["wrong"], books["difference"]) == ([], [], [], {})
    assert report["kept"] and ran.returncode == 0
