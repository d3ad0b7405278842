"""The live view as lines of a terminal: a function of what the emulator does and of the terminal's size."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rich.console import Group
from rich.text import Text

from cloudtune.emulator.screen.displays import fault_text, printable
from cloudtune.emulator.service_error import JsonObject

#: Widths from which columns are added.
_WIDE, _MEDIUM, _NARROW = 110, 76, 46
#: Height below which there are no empty lines.
_LOW = 20
_STYLES = {
    "Training": "cyan",
    "Completed": "green",
    "Failed": "bold red",
    "Interrupted": "magenta",
    "Stopping": "yellow",
    "Stopped": "yellow",
    "MaxRuntimeExceeded": "yellow",
    "MaxWaitTimeExceeded": "yellow",
}
_HEADING = "bold reverse"
_LOG_JOBS_MIN_LINES = 4  # a job's heading and what is worth reading of its log


def render(picture: JsonObject, rate: float, width: int, height: int, *, warning: str = "", footer: str) -> Group:
    """At most ``height`` lines of ``width`` cells.

    Args:
        picture: As :class:`cloudtune.emulator.screen.live.Live` takes it, and the facts of ``health``.
        rate: Calls per second.
        warning: The emulator's last own.
        footer: What keys do.
    """
    top = _facts(picture, width)
    bottom = [Text(warning, "yellow")] if warning else []
    bottom = [*bottom, Text(footer, "dim")][-height:]
    gap = [Text()] if height >= _LOW else []
    room = max(3, height - len(top) - len(bottom) - 3 * len(gap))
    wanted = [1 + len(_job_lines(picture, width)), _log_size(picture), 1 + len(_events(picture, 99))]
    sizes = _divide(room, wanted)
    parts = [
        top,
        _jobs(picture, width, sizes[0]),
        _logs(picture, sizes[1]),
        _calls(picture, rate, width, sizes[2]),
    ]
    above = height - len(bottom)
    lines = [line for part in parts if part for line in (*part, *gap)][:above]
    lines += [Text()] * (above - len(lines))
    for line in [*lines, *bottom]:
        line.truncate(width, overflow="ellipsis")
        line.no_wrap = True
    return Group(*lines, *bottom)


def _divide(room: int, wanted: Sequence[int]) -> list[int]:
    """Lines for jobs, logs and requests: their share, and what the others leave."""
    shares = [room * part // 10 for part in (4, 3, 3)]
    shares[0] += room - sum(shares)
    sizes = [min(share, want) for share, want in zip(shares, wanted, strict=True)]
    for index in (0, 2, 1):
        sizes[index] += min(room - sum(sizes), wanted[index] - sizes[index])
    return sizes


def _facts(picture: JsonObject, width: int) -> list[Text]:
    url, machine = picture["endpoint_url"], picture["machine"]
    at_once = picture["max_parallel_jobs"]
    title = Text.assemble(("cloudtune emulator", "bold"), "  ", (url, "bold cyan"))
    export = Text.assemble(("clients: ", "dim"), f'eval "$(cloudtune emulator --export {url.rpartition(":")[2]})"')
    facts = [
        f"isolation {picture['isolation']}",
        f"{machine['cpus']} CPUs, {machine['gpus']} GPUs",
        f"{at_once} job{'s' if at_once > 1 else ''} at once",
    ]
    if picture["time_scale"] != 1:
        facts.append(f"time x{picture['time_scale']:g}")
    scenario = "" if picture["scenario"] == "calm" else f"{printable(picture['scenario'])}, seed {picture['seed']}"
    last = Text("  ".join(facts))
    if scenario:
        title.append(f"  scenario {scenario}", "magenta")
    if width >= _WIDE:
        return [Text.assemble(title, "    ", export), last]
    return [title, export, last]


def _jobs(picture: JsonObject, width: int, size: int) -> list[Text]:
    counts = picture["job_counts"]
    heading = Text.assemble((" JOBS ", _HEADING), " ")
    heading.append("  ".join(f"{number} {name}" for name, number in counts.items() if number) or "none yet")
    if counts["failed"]:
        heading.highlight_words([f"{counts['failed']} failed"], "bold red")
    if counts["waiting"] and counts["running"] >= picture["max_parallel_jobs"]:
        heading.append(f"  ({picture['max_parallel_jobs']} at once: --max_parallel_jobs)", "dim")
    return [heading, *_job_lines(picture, width)][:size]


def _job_lines(picture: JsonObject, width: int) -> list[Text]:
    if not picture["jobs"]:
        return []
    columns = ["name", "phase", "age"] if width < _MEDIUM else ["name", "phase", "age", "billed", "instances"]
    columns = ["name", "phase"] if width < _NARROW else columns
    if width >= _WIDE:
        columns += ["uses", "attempt", "why"]
    rows = [{column: column for column in columns}, *(_cells(job) for job in picture["jobs"])]
    widths = {column: max(len(row[column]) for row in rows) for column in columns}
    if "why" in widths:
        widths["name"] = min(widths["name"], 48)
    others = sum(size + 2 for column, size in widths.items() if column not in ("name", "why"))
    widths["name"] = max(8, min(widths["name"], width - others))
    lines = []
    for row in rows:
        line = Text()
        for column in columns:
            style = _STYLES.get(row[column], "") if column == "phase" else ""
            text = row[column]
            if len(text) > widths[column]:
                text = f"{text[: widths[column] - 1]}…"
            numeric = column in ("age", "billed")
            line.append(text.rjust(widths[column]) if numeric else text.ljust(widths[column]), style).append("  ")
        line.rstrip()
        lines.append(line)
    lines[0].stylize("dim")
    return lines


def _cells(job: JsonObject) -> dict[str, str]:
    instances = " ".join(kind if count == 1 else f"{count}x {kind}" for count, kind in job["instances"])
    uses = f"{job['cpus']} CPU {job['gpus']} GPU" if job["cpus"] or job["gpus"] else "-"
    return {
        "name": job["name"],
        "phase": job["phase"],
        "age": duration(job["age_s"]),
        "billed": duration(job["billable_s"]),
        "instances": f"{instances} spot" if job["spot"] else instances,
        "uses": uses,
        "attempt": str(job["attempt"] + 1),
        "why": "" if job["phase"] in ("Training", "Completed") else printable(job["message"]),
    }


def _log_size(picture: JsonObject) -> int:
    return sum(1 + len(log["lines"]) for log in picture["logs"] if log["lines"])


def _logs(picture: JsonObject, size: int) -> list[Text]:
    """The newest lines of as many running jobs as there is room for."""
    logs = [log for log in picture["logs"] if log["lines"]][: max(1, size // _LOG_JOBS_MIN_LINES)]
    lines: list[Text] = []
    for number, log in enumerate(logs):
        share = (size - len(lines)) // (len(logs) - number)
        if share < 1:
            break
        lines.append(Text.assemble((" LOG ", _HEADING), f" {log['job']}"))
        several = len({host for host, _ in log["lines"]}) > 1
        for host, text in log["lines"][max(0, len(log["lines"]) - share + 1) :]:
            prefix = (f"{host} ", "dim") if several else ""
            lines.append(Text.assemble(prefix, printable(text)))
    return lines


def _calls(picture: JsonObject, rate: float, width: int, size: int) -> list[Text]:
    counts = picture["counts"]
    heading = Text.assemble((" REQUESTS ", _HEADING), f" {counts['calls']:,}  {rate:.0f}/s  ")
    heading.append(f"{counts['errors']:,} errors", "red" if counts["errors"] else "")
    heading.append(f"  injected faults: {counts['faults']:,}", "magenta" if counts["faults"] else "")
    return [heading, *(_event(event, width) for event in _events(picture, size - 1))][: max(0, size)]


def _events(picture: JsonObject, count: int) -> list[JsonObject]:
    """The newest calls and faults, in their order; a third is kept for faults, which calls would push out."""
    if count < 1:
        return []
    faults = picture["faults"][-max(1, count // 3) :]
    calls = picture["calls"][-max(1, count - len(faults)) :]
    return sorted([*faults, *calls], key=lambda event: int(event["number"]))[-count:]


def _event(event: JsonObject, width: int) -> Text:
    line = Text()
    if width >= _NARROW:
        line.append(time.strftime("%H:%M:%S ", time.localtime(event["time"])), "dim")
    if event["kind"] == "fault":
        return line.append(f"fault {printable(fault_text(event))}", "magenta")
    name = printable(f"{event['service']} {event['operation']}")
    line.append(name.ljust(34) if width >= _MEDIUM else f"{name} ")
    line.append(f"{_milliseconds(event['seconds']):>8} " if width >= _MEDIUM else "")
    error: Any = event["error"]
    if error is not None:
        status = "" if event["status"] is None else f"{event['status']} "
        line.append(printable(f"{status}{error} "), "bold red")
    subject = event.get("job") or "/".join(filter(None, (event.get("bucket", ""), event.get("key", ""))))
    return line.append(printable(subject), "dim")


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.0f} s"


def duration(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    minutes, secs = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{secs:02d}" if hours else f"{minutes}:{secs:02d}"
