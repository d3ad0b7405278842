"""How people see an emulator at work: a view that refreshes in a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from cloudtune.emulator.service_error import JsonObject
from cloudtune.errors import Unreachable

if TYPE_CHECKING:
    from rich.console import Console

    from cloudtune.emulator.daemon import EmulatorHandle

_COMMANDS = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-Z\\^_])")  # of ECMA-48
_TICK_S = 0.25
_IDLE_S = 1.0  # between two looks at an emulator that does nothing
_RATE_WINDOW_S = 5.0
_PATIENCE_S = 5.0  # with an emulator that does not answer: a scenario may be restarting it
Look = Callable[[], JsonObject]


class Display(Protocol):
    """Shows an emulator; to be updated every ``interval_s``."""

    interval_s: float

    def update(self) -> None:
        """Looks, and shows what is new."""

    def close(self) -> None:
        """Lets go of the terminal."""


class Silence:
    """Shows nothing."""

    interval_s = 3600.0

    def update(self) -> None:
        """Nothing is new."""

    def close(self) -> None:
        """Nothing was held."""


def is_terminal() -> bool:
    """Whether standard output can show a view that refreshes."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


class PlainLines:
    """Writes each change of a job and each fault as a comment of the shell's, and falls silent when nobody reads.

    Args:
        look: Takes a picture of the emulator, see :class:`cloudtune.emulator.screen.live.Live`.
    """

    interval_s = 0.5

    def __init__(self, look: Look) -> None:
        self._look = look
        self._phases: dict[str, str] = {}
        self._next_fault = 0
        self._silent = False

    def update(self) -> None:
        if self._silent:
            return
        try:
            for line in self._news(self._look()):
                print(f"# {time.strftime('%H:%M:%S')} {line}", flush=True)
        except (OSError, ValueError):
            self._silent = True

    def _news(self, picture: JsonObject) -> list[str]:
        lines = []
        for job in reversed(picture["jobs"]):
            if self._phases.get(job["name"]) != job["phase"]:
                self._phases[job["name"]] = job["phase"]
                reason = f": {job['message']}" if job["status"] == "Failed" else ""
                lines.append(printable(f"job {job['name']} {job['phase']}{reason}"))
        for fault in picture["faults"]:
            if fault["number"] >= self._next_fault:
                self._next_fault = fault["number"] + 1
                lines.append(f"fault {printable(fault_text(fault))}")
        return lines

    def close(self) -> None:
        """Nothing is held."""


class TerminalDisplay:
    """A view of the whole terminal, which shows what was there before when it is closed.

    Looks four times a second while something happens, once a second else, and draws only what has changed.

    Args:
        look: Takes a picture of the emulator.
        console: The terminal.
        footer: What Ctrl-C does.
    """

    interval_s = _TICK_S

    def __init__(self, look: Look, console: Console, footer: str) -> None:
        from rich.live import Live

        self._look = look
        self._console = console
        self._footer = footer
        self._live = Live(console=console, screen=True, auto_refresh=False, redirect_stderr=False)
        self._warnings = _Warnings()
        self._picture: JsonObject = {}
        self._calls: deque[tuple[float, int]] = deque()
        self._looked_at = float("-inf")
        self._is_active = True
        self._drawn: object = None
        self._warnings.begin()
        self._live.start()

    def update(self) -> None:
        now = time.monotonic()
        if now - self._looked_at >= (_TICK_S if self._is_active else _IDLE_S) - 0.01:
            self._looked_at = now
            self._take(self._look(), now)
        size = self._console.size
        # What is drawn, but for its clock: ages tick by the second.
        ages = [(job["name"], int(job["age_s"]), job["phase"]) for job in self._picture["jobs"]]
        lines = [log["lines"][-1:] for log in self._picture["logs"]]
        state = (size, self._picture["counts"], ages, lines, round(self._rate(), 1), len(self._warnings.lines))
        if state != self._drawn:
            self._drawn = state
            self._draw(size.width, size.height)

    def _take(self, picture: JsonObject, now: float) -> None:
        before = self._picture.get("counts")
        self._is_active = before is None or picture["counts"]["entries"] != before["entries"]
        self._picture = picture
        self._calls.append((now, int(picture["counts"]["calls"])))
        while now - self._calls[0][0] > _RATE_WINDOW_S:
            self._calls.popleft()

    def _rate(self) -> float:
        """Calls per second."""
        (first, before), (last, after) = self._calls[0], self._calls[-1]
        return max(0, after - before) / max(1.0, last - first)

    def _draw(self, width: int, height: int) -> None:
        from cloudtune.emulator.screen.terminal_view import render

        warning = self._warnings.lines[-1] if self._warnings.lines else ""
        view = render(self._picture, self._rate(), width, height, warning=warning, footer=self._footer)
        self._live.update(view, refresh=True)

    def close(self) -> None:
        self._live.stop()
        self._warnings.end()


class _Warnings(logging.Handler):
    """Keeps the newest warnings, and the other handlers quiet: what they write would tear the view apart."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: deque[str] = deque(maxlen=50)
        self._levels: dict[logging.Handler, int] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(printable(f"{record.levelname.lower()}: {record.getMessage()}"))

    def begin(self) -> None:
        root = logging.getLogger()
        for handler in root.handlers:
            self._levels[handler] = handler.level
            handler.setLevel(logging.CRITICAL + 1)
        root.addHandler(self)

    def end(self) -> None:
        """Says what it has kept."""
        logging.getLogger().removeHandler(self)
        for handler, level in self._levels.items():
            handler.setLevel(level)
        for line in self.lines:
            print(line, file=sys.stderr)


def terminal_display(look: Look, footer: str = "Ctrl-C ends the emulator and all its jobs.") -> Display:
    """The view of the terminal that this process has."""
    from rich.console import Console

    return TerminalDisplay(look, Console(), footer)


def watch(handle: EmulatorHandle) -> None:
    """Shows an emulator of another process until that ends.

    Raises:
        Unreachable: It does not answer any more.
    """
    look = _Patient(handle.live)
    if not is_terminal():
        display: Display = PlainLines(look)
    else:
        display = terminal_display(look, "Ctrl-C ends the view; the emulator runs on.")
    try:
        while True:
            display.update()
            time.sleep(display.interval_s)
    finally:
        display.close()


class _Patient:
    """Shows the last picture while the emulator does not answer, for some seconds."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._last: JsonObject | None = None
        self._seen_at = time.monotonic()

    def __call__(self) -> JsonObject:
        try:
            self._last = self._look()
        except Unreachable:
            if self._last is None or time.monotonic() - self._seen_at > _PATIENCE_S:
                raise
        else:
            self._seen_at = time.monotonic()
        return self._last


def fault_text(fault: JsonObject) -> str:
    """``interruption job=a rule=0``."""
    facts = {key: value for key, value in fault.items() if key not in ("number", "time", "kind", "service_time")}
    name = facts.pop("fault")
    return " ".join([str(name), *(f"{key}={value}" for key, value in facts.items() if value not in (None, ""))])


def printable(text: str) -> str:
    """Without what would command the terminal: names of objects and lines of logs are anybody's."""
    seen = _COMMANDS.sub("", text.rstrip("\r\n")).rpartition("\r")[2]  # of a progress bar its last state
    return "".join(char if char.isprintable() else "?" for char in seen.expandtabs(4))
