"""Reports of a training script to whoever tunes it: one line of JSON each, on standard output.

Imports in a few milliseconds, since every trial pays for it: the standard library alone, and little of it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from _thread import allocate_lock

from cloudtune import constants
from cloudtune.errors import CloudtuneError, SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` itself would cost more than the rest of this module
    from collections.abc import Iterable
    from typing import Any

TAG = "[tune-metric]: "
_TAG_BYTES = TAG.encode()
#: A report is a line, not a file: larger ones are refused.
MAX_REPORT_BYTES = 50_000
_MAX_DEPTH = 16
_WRITE_TIMEOUT_S = 60.0
# One for the process, as standard output is; kept out of Reporter so that reporters can be copied and pickled.
_stdout_lock = allocate_lock()


class Reporter:
    """Reports metrics: ``report = Reporter()``, then ``report(epoch=3, accuracy=0.9)`` as often as there is news.

    Each call prints one line ``[tune-metric]: {...}``, whole or not at all, from any thread. Values may be bool,
    int, float (NaN and infinity too), str, lists and dicts of these, and scalars of NumPy, torch and the like.

    Args:
        add_time: Adds ``st_worker_timestamp`` (seconds since the epoch) and ``st_worker_time`` (seconds since this
            reporter was made). ``st_worker_iter``, the number of the report from 0, is always there.
        add_cost: Adds ``st_worker_cost`` (US dollars since this reporter was made) where the price of the machine
            is known: ``CLOUDTUNE_PRICE_PER_HOUR``, or the instance type of the SageMaker job.

    Raises:
        SpecError: ``CLOUDTUNE_PRICE_PER_HOUR`` is no number.
    """

    def __init__(self, add_time: bool = True, add_cost: bool = True) -> None:
        self.add_time = add_time
        self.add_cost = add_cost
        self._start = time.perf_counter()
        self._iter = 0
        self._price_per_hour = _price_per_hour() if add_cost else None

    def __call__(self, /, **metrics: Any) -> None:
        """Prints one report.

        Raises:
            SpecError: A key or value cannot be reported; the message names the key.
            CloudtuneError: Standard output is closed.
        """
        if not metrics:
            raise SpecError("Reporter was called without metrics.", "Report at least one: report(accuracy=0.9)")
        report = {key: _plain(_checked_key(key), value) for key, value in metrics.items()}
        with _stdout_lock:
            report.update(self._additions())
            _write_line(TAG + _dumps(report))
            self._iter += 1

    def _additions(self) -> dict[str, Any]:
        elapsed = time.perf_counter() - self._start
        additions: dict[str, Any] = {constants.ST_WORKER_ITER: self._iter}
        if self.add_time:
            additions[constants.ST_WORKER_TIMESTAMP] = time.time()
            additions[constants.ST_WORKER_TIME] = elapsed
        if self._price_per_hour is not None:
            additions[constants.ST_WORKER_COST] = elapsed * self._price_per_hour / 3600
        return additions


def parse_report(line: str | bytes) -> dict[str, Any] | None:
    """The report in ``line``, or None. What stands before the tag (a progress bar without newline) is ignored."""
    if isinstance(line, bytes):
        begin = line.find(_TAG_BYTES)
        if begin < 0:
            return None
        text = line[begin:].decode("utf-8", "replace")
    else:
        text = line
    position = text.find(TAG)
    while position >= 0:
        report = _decode_at(text, position + len(TAG))
        if report is not None:
            return report
        position = text.find(TAG, position + len(TAG))
    return None


def retrieve(log_lines: Iterable[str | bytes]) -> list[dict[str, Any]]:
    """All reports in the lines of a log, in order."""
    found = (parse_report(line) for line in log_lines)
    return [report for report in found if report is not None]


def _decode_at(text: str, position: int) -> dict[str, Any] | None:
    if not text.startswith("{", position):
        return None
    try:
        report, _ = json.JSONDecoder().raw_decode(text, position)
    except (ValueError, RecursionError):
        return None
    return report if isinstance(report, dict) else None


def _checked_key(key: str) -> str:
    if not isinstance(key, str) or not key:
        raise SpecError(f"Reporter: the name of a metric must be a text that is not empty, not {key!r}.")
    if key.startswith(constants.RESERVED_PREFIX):
        raise SpecError(
            f"Reporter: '{key}' is reserved, as all names that begin with '{constants.RESERVED_PREFIX}'.",
            "Rename the metric.",
        )
    return key


def _plain(key: str, value: Any, depth: int = 0) -> Any:
    """``value`` as JSON knows it; ``key`` is for the message."""
    if isinstance(value, (bool, int, float, str)):
        return value
    if depth > _MAX_DEPTH:
        raise SpecError(f"Reporter: '{key}' is nested more than {_MAX_DEPTH} deep.", "Report a flatter value.")
    if isinstance(value, dict):
        for name in value:
            if not isinstance(name, str):
                raise SpecError(f"Reporter: '{key}' has a key that is no text: {name!r}.", "Use str(key).")
        return {name: _plain(f"{key}.{name}", item, depth + 1) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(f"{key}[{index}]", item, depth + 1) for index, item in enumerate(value)]
    if value is None:
        raise SpecError(
            f"Reporter: '{key}' is None.", "Report a number (float('nan') if there is none), or leave the key out."
        )
    return _scalar(key, value)


def _scalar(key: str, value: Any) -> Any:
    """A scalar of NumPy, torch, JAX, TensorFlow, Decimal, ... by duck typing, so that none is imported here."""
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    try:
        plain = value.item() if hasattr(value, "item") else value
        if isinstance(plain, (bool, int, float, str)):
            return plain
        if hasattr(plain, "__float__"):  # numpy.longdouble, Decimal
            return float(plain)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        shape = getattr(value, "shape", None)
        what = f"a {kind}" if shape is None else f"a {kind} of shape {tuple(shape)}"
        raise SpecError(
            f"Reporter: '{key}' is {what}, which is no single number.",
            "Report one number, such as its mean, or a short list by .tolist().",
        ) from error
    raise SpecError(
        f"Reporter: '{key}' is a {kind}, which JSON cannot hold.",
        "Report bool, int, float, str, lists and dicts of these, or a NumPy or torch scalar.",
    )


def _dumps(report: dict[str, Any]) -> str:
    try:
        text = json.dumps(report)
    except ValueError as error:  # an int of thousands of digits
        key = next((key for key, value in report.items() if not _fits_json(value)), "?")
        raise SpecError(f"Reporter: '{key}' cannot be written as JSON: {error}") from error
    if len(text) > MAX_REPORT_BYTES:  # ASCII: characters are bytes
        sizes = {key: len(json.dumps(value)) for key, value in report.items()}
        largest = max(sizes, key=sizes.__getitem__)
        raise SpecError(
            f"Reporter: the report has {len(text)} bytes, more than {MAX_REPORT_BYTES}; "
            f"the largest value is '{largest}' with {sizes[largest]}.",
            "Write large things to a file and report its name.",
        )
    return text


def _fits_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except ValueError:
        return False
    return True


def _write_line(text: str) -> None:
    """The line in one write to the file descriptor: no other thread's or process's output gets into it."""
    try:
        stream = sys.stdout
        stream.flush()
        try:
            descriptor = stream.fileno()
        except (OSError, AttributeError):  # a notebook, a captured stream
            stream.write(text + "\n")
            stream.flush()
            return
        _write_all(descriptor, (text + "\n").encode("ascii"))
    except (AttributeError, OSError, ValueError) as error:
        raise CloudtuneError(
            f"Reporter cannot write to standard output: {error or type(error).__name__}.",
            "Keep sys.stdout open, and whoever reads it alive, as long as the script reports.",
        ) from error


def _write_all(descriptor: int, line: bytes) -> None:
    while line:
        try:
            line = line[os.write(descriptor, line) :]
        except BlockingIOError:  # a pipe that somebody made non-blocking, and that is full
            import select

            if not select.select([], [descriptor], [], _WRITE_TIMEOUT_S)[1]:
                raise TimeoutError(f"nobody has read from it for {_WRITE_TIMEOUT_S:.0f} s") from None


def _price_per_hour() -> float | None:
    """Dollars per hour of the whole job, as far as the environment tells."""
    given = os.environ.get(constants.ENV_PRICE_PER_HOUR)
    if given is not None:
        try:
            price = float(given)
        except ValueError:
            price = -1.0
        if not 0 <= price < float("inf"):
            raise SpecError(
                f"{constants.ENV_PRICE_PER_HOUR}={given!r} is no price.", "Give US dollars per hour, such as 0.23."
            )
        return price
    instance_type = os.environ.get("SM_HP_" + constants.ST_INSTANCE_TYPE.upper())
    if instance_type is None:
        return None
    from cloudtune.instance_info import price_per_hour  # reads a file: only in SageMaker jobs

    price_of_one = price_per_hour(instance_type)
    count = os.environ.get("SM_HP_" + constants.ST_INSTANCE_COUNT.upper(), "1")
    return price_of_one * int(count) if price_of_one is not None and count.isdecimal() else None
