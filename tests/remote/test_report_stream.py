"""The form of reports in S3, and what counts as a repetition."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtune.report_stream import (
    RepetitionFilter,
    decode_line,
    decode_lines,
    encode_line,
    object_name,
    parse_object_name,
    reports_in,
)

scalar = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8))
record = st.dictionaries(st.text(max_size=6), st.one_of(scalar, st.lists(scalar, max_size=3)), max_size=4)


@given(st.lists(record, max_size=6), st.data())
def test_a_part_of_a_stream_is_read_as_far_as_it_goes(records: list[dict[str, Any]], data: st.DataObject) -> None:
    lines = [encode_line(item) for item in records]
    content = b"".join(lines)
    assert decode_lines(content) == (records, len(content))
    cut = data.draw(st.integers(0, len(content)))
    found, length = decode_lines(content[:cut])
    assert found == records[: len(found)]
    assert length == len(b"".join(lines[: len(found)]))
    assert cut < len(b"".join(lines[: len(found) + 1])) or len(found) == len(lines), "nothing whole is left out"


@given(st.lists(record, min_size=1, max_size=5), st.data())
def test_damage_is_noticed(records: list[dict[str, Any]], data: st.DataObject) -> None:
    content = b"".join(encode_line(item) for item in records)
    position = data.draw(st.integers(0, len(content) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda value: value != content[position]))
    found, _ = decode_lines(content[:position] + bytes([other]) + content[position + 1 :])
    assert all(line in records for line in found)
    assert len(found) < len(records) or other in b"abcdefABCDEF", "but for the case of the checksum's digits"


@given(st.binary(max_size=40))
def test_no_bytes_are_too_strange(content: bytes) -> None:
    assert decode_line(content) is None or isinstance(decode_line(content), dict)
    assert decode_lines(content)[1] <= len(content)


def test_names() -> None:
    assert object_name(0, 7) == "0000-000007.jsonl"
    assert parse_object_name(object_name(12345, 1234567)) == (12345, 1234567)
    assert parse_object_name("0000-000007.jsonl.tmp") is None
    assert parse_object_name("a/0000-000007.jsonl") is None


#: Of each run: how far behind the safe level it begins, how many levels it reports, how many of them reach S3.
run = st.tuples(st.integers(0, 5), st.integers(0, 6), st.integers(0, 6))


def report(level: int, run_number: int, has_attr: bool) -> dict[str, Any]:
    own = {"level": level} if has_attr else {"loss": 1 / level}
    return {**own, "st_worker_time": float(run_number)}


@given(st.lists(run, max_size=6), st.booleans())
@settings(max_examples=200)
def test_each_report_is_delivered_once_in_order(runs: list[tuple[int, int, int]], has_attr: bool) -> None:
    """Whatever runs there were, and whatever each of them had uploaded when it died: those of a stream are the
    reports 1, 2, 3, ... of a script that is never interrupted."""
    resource_attr = "level" if has_attr else None
    stream: list[dict[str, Any]] = []
    in_log = RepetitionFilter(resource_attr)  # a reader of the log, who has all that was printed
    from_log: list[int] = []
    for number, (back, length, uploaded) in enumerate(runs):
        repetitions = RepetitionFilter(resource_attr)
        repetitions.restore(stream)
        safe = len(stream)
        begin = max(0, safe - back)
        new = []
        for level in range(begin + 1, begin + length + 1):
            made = report(level, number, has_attr)
            seq = repetitions.number(made)
            if seq is not None:
                assert seq == safe + len(new)
                new.append(made)
            if in_log.number(made) is not None:
                from_log.append(level)
        stream += new[:uploaded]
        if has_attr:
            assert repetitions.level == max([safe, *(item["level"] for item in new)])
        in_log.next_run()
    key = "level" if has_attr else "loss"
    values = [item[key] for item in stream]
    assert values == [report(level, 0, has_attr)[key] for level in range(1, len(stream) + 1)]
    if has_attr:
        assert from_log == list(range(1, len(from_log) + 1)), "the log, read by the same rule, numbers them alike"


def test_values_that_come_again_are_no_repetitions() -> None:
    repetitions = RepetitionFilter(None)
    assert [repetitions.number({"acc": value}) for value in (5, 6, 6, 7)] == [0, 1, 2, 3]
    repetitions.next_run()  # from the checkpoint after the second one
    assert [repetitions.number({"acc": value}) for value in (6, 7, 6, 5, 7)] == [None, None, 4, 5, 6]
    repetitions.next_run()  # from scratch, and dies
    assert [repetitions.number({"acc": value}) for value in (5, 6, 6)] == [None] * 3
    repetitions.next_run()
    assert [repetitions.number({"acc": value}) for value in (6, 5, 7, 5)] == [None, None, None, 7]


def test_reports_without_a_level_are_compared_by_content() -> None:
    repetitions = RepetitionFilter("level")
    strange = [{"level": value} for value in (float("nan"), float("inf"), True, "3", -1)] + [{"loss": 1}]
    assert [repetitions.number(item) for item in strange] == list(range(6))
    repetitions.next_run()
    assert [repetitions.number(item) for item in strange] == [None] * 6
    assert repetitions.number({"loss": 1}) == 6, "one more than the run before"
    repetitions.next_run()
    assert [repetitions.number(item) for item in [*strange, {"loss": 1}]] == [None] * 7


def test_what_is_recorded_of_earlier_attempts_is_delivered_again() -> None:
    repetitions = RepetitionFilter("level", level=5)
    assert repetitions.level == 5
    assert [repetitions.number({"level": level}) for level in (4, 5, 6)] == [0, 1, 2]
    assert repetitions.level == 6


def test_what_comes_after_a_gap_does_not_count() -> None:
    lines = [{"kind": "report", "seq": seq, "metrics": {"n": seq}} for seq in range(6)]
    hello: dict[str, Any] = {"kind": "hello", "run": 0}
    assert reports_in([[hello, *lines[:2]], lines[3:]]) == [{"n": 0}, {"n": 1}]
    assert reports_in([[hello, *lines[:2]], lines[4:], lines[1:4]]) == [{"n": seq} for seq in range(6)]
