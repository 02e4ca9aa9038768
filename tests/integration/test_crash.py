"""Trap 7: a publish that is killed, or whose disk fails, at every system call that changes something.

Whenever it stops, a client sees the old state or the new one, whole and valid, and running it again completes it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

_REPOSITORY = Path(__file__).parents[2]
_CALLS = ("openat", "write", "fsync", "rename", "unlink", "mkdir")
_SAMPLES = 3
"""How many of each call strace interferes with; the walk in Python takes every one."""


def run(*arguments: str, under: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*under, sys.executable, "-m", "tests.support.machines.crash", *arguments],
        capture_output=True, text=True, check=False, timeout=120, cwd=_REPOSITORY,
    )  # fmt: skip


@pytest.mark.parametrize(("fault", "stride"), [("kill", "1"), ("ENOSPC", "2")])
def test_a_fault_at_any_call_leaves_the_old_state_or_the_new(fault: str, stride: str, tmp_path: Path) -> None:
    walked = run("walk", str(tmp_path / "walk"), fault, stride)
    assert walked.returncode == 0, walked.stderr
    steps = [json.loads(line) for line in walked.stdout.splitlines()]
    assert len(steps) > 40
    assert {step["seen"] for step in steps} == {"old", "new"}
    assert {step["after"] for step in steps} == {"new"}
    seen = [step["seen"] for step in steps if step["exit"] != 0]
    assert seen == sorted(seen, key=["old", "new"].index), "once it was seen, the new state stays"
    # 9: the publish was over before a call of this number; 0: a leftover that could not be removed harms nobody
    ends = Counter(step["exit"] for step in steps)
    assert steps[-1]["exit"] == 9
    assert set(ends) <= ({9, -9} if fault == "kill" else {9, 3, 0})
    assert ends[0] <= 2


@cache
def _no_strace() -> str:
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(["strace", "-f", "-e", "trace=none", "true"], capture_output=True, text=True, check=False)
    return "" if tried.returncode == 0 else f"strace may not trace here: {tried.stderr.strip()[:100]}"


def test_strace_kills_it_at_the_real_system_calls(tmp_path: Path) -> None:
    if _no_strace():
        pytest.skip(_no_strace())
    template, log = tmp_path / "template", tmp_path / "log"
    assert run("prepare", str(template)).returncode == 0
    dry = tmp_path / "dry"
    shutil.copytree(template, dry)
    traced = run("once", str(dry), under=("strace", "-o", str(log), "-e", f"trace={','.join(_CALLS)},stat,newfstatat"))
    assert traced.returncode == 0, traced.stderr
    before, after = log.read_text().split('/begin"', 1)
    counts = {call: (_count(call, before), _count(call, after)) for call in _CALLS}
    assert counts["fsync"][1] > 10, "the mark was found, and what follows is the publish"
    seen = []
    for call, (start, number) in counts.items():
        # The last call of each kind is where the timestamp becomes visible, or just after.
        chosen = {start + 1 + (number - 1) * step // (_SAMPLES - 1) for step in range(_SAMPLES)} if number else set()
        for when in sorted(chosen):
            folder = tmp_path / f"{call}-{when}"
            shutil.copytree(template, folder)
            inject = f"inject={call}:signal=KILL:when={when}"
            killed = run("once", str(folder), under=("strace", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject))
            assert killed.returncode == -9, (call, when, killed.stderr)
            looked = run("look", str(folder))
            assert looked.returncode == 0, (call, when, looked.stderr)
            result = json.loads(looked.stdout)
            assert result["seen"] in ("old", "new"), (call, when, result)
            assert result["after"] == "new", (call, when, result)
            seen.append(result["seen"])
            shutil.rmtree(folder)
    assert {"old", "new"} == set(seen)


def _count(call: str, text: str) -> int:
    return len(re.findall(rf"^{call}\(", text, re.MULTILINE))
