"""The reports of one job in S3, as its supervisor writes them: run by run, segment by segment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cloudtune.report_stream import (
    END,
    HELLO,
    REPORT,
    SEGMENT_BYTES,
    RepetitionFilter,
    decode_lines,
    encode_line,
    reports_in,
)
from cloudtune.sagemaker_backend.ports import ReportObject
from cloudtune.simulated_cloud.trial_process import TrialProcess


@dataclass(frozen=True)
class Tear:
    """An upload that arrives in half.

    Args:
        line: Which line is cut.
        repair_s: Until it is uploaded again, seconds; None: never.
        strikes: Called when it happens.
    """

    line: int
    repair_s: float | None
    strikes: Callable[[], None]


class RunStream:
    """What one run writes.

    Args:
        run: Its number in the names of objects.
        process: What reports.
        repetitions: Knows what earlier runs have reported.
        tear: What goes wrong.
    """

    def __init__(self, run: int, process: TrialProcess, repetitions: RepetitionFilter, tear: Tear | None) -> None:
        self.run = run
        self._process = process
        self._repetitions = repetitions
        self._tear = tear
        self._torn_since: float | None = None
        self._segments: list[list[bytes]] = []
        self._num_lines = 0
        #: How much of the process has been written: said hello, reports, said its end.
        self._said_hello, self._num_reports, self._said_end = False, 0, False

    def contents(self, now: float) -> list[bytes]:
        """Its objects, by segment."""
        self._write(now)
        if self._is_torn(now):
            return self._torn_contents()
        return [b"".join(lines) for lines in self._segments]

    def is_final(self, now: float) -> bool:
        """Whether it will never change again: what is torn when its run ends stays so."""
        return self._process.ended is not None and now >= self._process.ended

    def _write(self, now: float) -> None:
        process = self._process
        if not self._said_hello and process.says_hello(now):
            self._said_hello = True
            self._append({"kind": HELLO, "run": self.run, "time": process.begun, "host": "algo-1"}, process.begun)
        uploaded = process.uploaded(now)
        while self._num_reports < uploaded:
            metrics, when = process.metrics(self._num_reports), process.times[self._num_reports]
            self._num_reports += 1
            number = self._repetitions.number(metrics)
            if number is not None:
                self._append({"kind": REPORT, "seq": number, "metrics": metrics}, when)
        if not self._said_end and process.says_end(now):
            self._said_end = True
            end = {
                "kind": END,
                "exit_code": process.exit_code,
                "count": self._repetitions.count,
                "tail": process.error,
                "stopped": process.terminated,
            }
            self._append(end, now)

    def _append(self, record: dict[str, object], when: float) -> None:
        line = encode_line(record)
        if not self._segments or sum(map(len, self._segments[-1])) + len(line) > SEGMENT_BYTES:
            self._segments.append([])
        self._segments[-1].append(line)
        if self._tear is not None and self._num_lines == self._tear.line:
            self._torn_since = when
            self._tear.strikes()
        self._num_lines += 1

    def _is_torn(self, now: float) -> bool:
        if self._tear is None or self._torn_since is None:
            return False
        if self._tear.repair_s is None:
            return True
        # Whatever it could not repair before its end, its last upload does, if there is one.
        repaired_at, process = self._torn_since + self._tear.repair_s, self._process
        if process.ended is not None and process.ended < repaired_at:
            return not process.says_end(now)
        return now < repaired_at

    def _torn_contents(self) -> list[bytes]:
        """Up to half of the line that is cut; what was uploaded since has not arrived either."""
        contents: list[bytes] = []
        left = 0 if self._tear is None else self._tear.line
        for lines in self._segments:
            if left < len(lines):
                cut = lines[left]
                return [*contents, b"".join(lines[:left]) + cut[: len(cut) // 2]]
            contents.append(b"".join(lines))
            left -= len(lines)
        return contents


class JobStream:
    """All that one job has written.

    Args:
        label: Its name below the experiment's reports.
        resource_attr: Key of the level in reports, as the job was told.
    """

    def __init__(self, label: str, resource_attr: str | None) -> None:
        self.label = label
        self._resource_attr = resource_attr
        self._runs: list[RunStream] = []
        self._final: tuple[ReportObject, ...] | None = None

    def earlier(self, now: float) -> RepetitionFilter:
        """What a run that begins now finds of earlier ones."""
        repetitions = RepetitionFilter(self._resource_attr)
        contents = (content for stream in self._runs for content in stream.contents(now))
        repetitions.restore(reports_in(decode_lines(content)[0] for content in contents))
        return repetitions

    def begin(self, process: TrialProcess, repetitions: RepetitionFilter, tear: Tear | None, now: float) -> None:
        """Another run."""
        run = max((stream.run + 1 for stream in self._runs if stream.contents(now)), default=0)
        self._runs.append(RunStream(run, process, repetitions, tear))
        self._final = None

    def objects(self, now: float) -> tuple[ReportObject, ...]:
        """As they are listed."""
        if self._final is not None:
            return self._final
        found = tuple(
            ReportObject(self.label, stream.run, segment, len(content), f'"{len(content):x}"')
            for stream in self._runs
            for segment, content in enumerate(stream.contents(now))
        )
        if self._runs and all(stream.is_final(now) for stream in self._runs):
            self._final = found
        return found

    def content(self, run: int, segment: int, now: float) -> bytes | None:
        """None: there is no such object."""
        for stream in self._runs:
            contents = stream.contents(now) if stream.run == run else []
            if segment < len(contents):
                return contents[segment]
        return None
