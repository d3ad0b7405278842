from __future__ import annotations

import io
import sys
import threading

import pytest

from cloudtune.cli import progress


class Terminal(io.StringIO):
    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        number = super().write(text)
        if "\n" in text:
            self.written.set()
        return number


def timers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]


def test_what_takes_long_says_what_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "_MOMENT_S", 0.0)
    with progress.doing("Looking at x"):
        assert terminal.written.wait(60)
    assert terminal.getvalue() == "Looking at x ...\n"


def test_what_is_quick_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "_MOMENT_S", 3600.0)
    with progress.doing("Looking at x"):
        waiting = timers()
    for thread in waiting:
        thread.join(60)
    assert len(waiting) == 1 and timers() == [] and terminal.getvalue() == ""


def test_nothing_is_said_to_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress.doing("Looking at x"):
        assert timers() == []
