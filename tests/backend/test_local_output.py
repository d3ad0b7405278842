"""Reading what grows: each byte once, lines whole, memory bounded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtune.backend.local import output
from cloudtune.backend.local.output import ReportReader
from cloudtune.report import parse_report, retrieve
from cloudtune.report_lines import MAX_LINE_BYTES

line = st.one_of(
    st.binary(max_size=12).map(lambda raw: raw.replace(b"\n", b"")),
    st.integers(0, 9).map(lambda i: b'[tune-metric]: {"i": %d}' % i),
    st.integers(0, 9).map(lambda i: b'10%%\r[tune-metric]: {"i": %d} rest' % i),
    st.sampled_from([b"[tune-metric]: {", b"[tune-metric]: [1]", b"[tune-", b"[tune-metric]: null"]),
)


@given(st.lists(line), st.booleans(), st.lists(st.integers(1, 40), max_size=30))
@settings(max_examples=100, deadline=None)
def test_however_it_is_cut(tmp_path_factory, lines, ends_in_newline, cuts) -> None:  # type: ignore[no-untyped-def]
    text = b"\n".join(lines) + (b"\n" if ends_in_newline else b"")
    path = tmp_path_factory.mktemp("out") / "std.out"
    reader = ReportReader(path, 0, parse_report)
    found = []
    with path.open("ab", buffering=0) as file:
        position = 0
        for cut in [*cuts, len(text)]:
            file.write(text[position : position + cut])
            position += cut
            found += reader.read()
    found += reader.read() + reader.finish()
    assert found == retrieve(text.split(b"\n"))


def test_steps_are_bounded_and_all_is_read(tmp_path: Path) -> None:
    path = tmp_path / "std.out"
    report = b'[tune-metric]: {"epoch": 1}\n'
    path.write_bytes((report + b"z" * (output.CHUNK_BYTES - len(report) // 2) + b"\n") * 3)
    reader = ReportReader(path, 0, parse_report)
    num_steps, reports = 0, []
    while True:
        reports += reader.read()
        num_steps += 1
        if not reader.is_behind:
            break
    assert num_steps == 4
    assert len(reports) == 3


def test_line_without_end_is_kept_in_part(tmp_path: Path) -> None:
    path = tmp_path / "std.out"
    path.write_bytes(b"x" * 3 * output.CHUNK_BYTES)
    reader = ReportReader(path, 0, parse_report)
    for _ in range(3):
        assert reader.read() == []
    assert len(reader._scanner.rest) == MAX_LINE_BYTES
    largest = json.dumps({"epoch": 1, "text": "y" * 49_000})
    with path.open("a") as file:
        file.write(f"[tune-metric]: {largest}\n")
    assert [report["epoch"] for report in reader.read()] == [1]


def test_nothing_is_read_or_searched_twice(tmp_path: Path) -> None:
    """Not quadratic: the last of many megabytes costs as much as the first."""
    parsed: list[bytes] = []

    def parse(line: bytes) -> dict[str, Any] | None:
        parsed.append(line)
        return parse_report(line)

    path = tmp_path / "std.out"
    block = (b"loss 0.123 " * 9 + b"\n") * 10_000 + b'[tune-metric]: {"epoch": 1}\n'
    reader = ReportReader(path, 0, parse)
    with path.open("ab", buffering=0) as file:
        for number in range(1, 41):
            file.write(block)
            assert len(reader.read()) == 1
            assert (reader.position, reader._scanner.rest) == (number * len(block), b"")
    assert len(parsed) == 40


def test_last_lines(tmp_path: Path) -> None:
    path = tmp_path / "std.err"
    assert output.last_lines(path, 0) == ""
    path.write_bytes(b"old\n" + b"\n".join(b"line %d \xff" % i for i in range(50)) + b"\n\n")
    lines = output.last_lines(path, 4).splitlines()
    assert len(lines) == 20
    assert lines[-1] == "line 49 �"
    path.write_bytes(b"w" * 10**6)
    assert len(output.last_lines(path, 0)) == 4000
    assert output.last_lines(path, 10**6) == ""


def test_truncated_file_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "std.out"
    path.write_bytes(b"abc\n")
    reader = ReportReader(path, 100, parse_report)
    assert reader.read() == []
    assert not reader.is_behind
