"""Reports of one job as the tuner reads them: each once and in order, whatever S3 shows meanwhile."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtune.report_stream import encode_line
from cloudtune.sagemaker_backend.job_reports import JobReports
from cloudtune.sagemaker_backend.log_reports import LogReports
from cloudtune.sagemaker_backend.ports import LogPage, ReportObject


def hello(run: int) -> bytes:
    return encode_line({"kind": "hello", "run": run, "time": 100.0 + run, "host": "algo-1"})


def report(seq: int) -> bytes:
    return encode_line({"kind": "report", "seq": seq, "metrics": {"epoch": seq + 1, "loss": 1.0 / (seq + 1)}})


def end(count: int, exit_code: int = 0) -> bytes:
    return encode_line({"kind": "end", "exit_code": exit_code, "count": count, "tail": "", "stopped": False})


class Bucket:
    """Objects of one job, as they are at a moment."""

    def __init__(self) -> None:
        self.objects: dict[tuple[int, int], bytes] = {}
        self.reads = 0

    def listed(self) -> list[ReportObject]:
        return [
            ReportObject("0-0", run, segment, len(content), f"{hash(content):x}")
            for (run, segment), content in self.objects.items()
        ]

    def read_into(self, reports: JobReports) -> list[int]:
        """Epochs that are new."""
        epochs = []
        for item in reports.changed(self.listed()):
            self.reads += 1
            content = self.objects[item.run, item.segment][reports.offset(item) :]
            epochs += [metrics["epoch"] for metrics in reports.take(item, content)]
        return epochs


def test_a_stream_is_read_as_it_grows_and_only_where_it_has_grown() -> None:
    bucket, reports = Bucket(), JobReports()
    bucket.objects[0, 0] = hello(0) + report(0)
    assert bucket.read_into(reports) == [1]
    assert reports.begun == 100.0 and reports.is_whole
    assert bucket.read_into(reports) == [] and bucket.reads == 1
    bucket.objects[0, 0] += report(1) + report(2)
    bucket.objects[0, 1] = report(3) + end(4)
    assert bucket.read_into(reports) == [2, 3, 4]
    assert reports.end is not None and reports.end["count"] == 4 and reports.is_whole


def test_what_is_missing_is_waited_for() -> None:
    bucket, reports = Bucket(), JobReports()
    bucket.objects[0, 0] = hello(0) + report(0)
    bucket.objects[0, 2] = report(2) + end(3)
    assert bucket.read_into(reports) == [1] and not reports.is_whole
    bucket.objects[0, 1] = report(1)
    assert bucket.read_into(reports) == [2, 3] and reports.is_whole


def test_an_end_that_counts_more_than_was_read_is_no_whole_stream() -> None:
    bucket, reports = Bucket(), JobReports()
    bucket.objects[0, 0] = hello(0) + report(0)
    bucket.objects[0, 1] = end(2)
    assert bucket.read_into(reports) == [1]
    assert not reports.is_whole
    reports.skip(2)  # it came from the log
    assert reports.is_whole
    bucket.objects[0, 0] += report(1)  # and S3 has it after all
    assert bucket.read_into(reports) == []


def test_a_run_that_begins_anew_takes_its_predecessors_end_back() -> None:
    bucket, reports = Bucket(), JobReports()
    bucket.objects[0, 0] = hello(0) + report(0) + end(1, exit_code=143)
    bucket.objects[1, 0] = hello(1) + report(1)
    assert bucket.read_into(reports) == [1, 2]
    assert reports.end is None and reports.num_runs == 2


@settings(max_examples=200, deadline=None)
@given(
    count=st.integers(1, 12),
    segment_size=st.integers(1, 5),
    moments=st.lists(st.tuples(st.integers(0, 2000), st.booleans()), max_size=12),
)
def test_each_report_comes_once_and_in_order(
    count: int, segment_size: int, moments: list[tuple[int, bool]]
) -> None:
    """At each moment S3 has a prefix of the stream, or one of its objects is torn; at last it has all of it."""
    whole: dict[tuple[int, int], bytes] = {}
    for begin in range(0, count, segment_size):
        lines = [report(seq) for seq in range(begin, min(count, begin + segment_size))]
        whole[0, begin // segment_size] = (hello(0) if begin == 0 else b"") + b"".join(lines)
    last = max(whole)
    whole[last] += end(count)
    bucket, reports = Bucket(), JobReports()
    seen: list[int] = []
    for length, torn in moments:
        bucket.objects = {}
        left = length
        for key, content in whole.items():
            if torn:
                bucket.objects[key] = content[: length % (len(content) + 1)]
            elif left > 0:
                bucket.objects[key] = content[:left]
                left -= len(content)
        seen += bucket.read_into(reports)
        assert seen == list(range(1, len(seen) + 1))
    bucket.objects = whole
    seen += bucket.read_into(reports)
    assert seen == list(range(1, count + 1))
    assert reports.is_whole


def line(epoch: int) -> str:
    return f'[tune-metric]: {{"epoch": {epoch}, "loss": 0.5, "st_worker_iter": 0}}'


def test_a_log_gives_what_s3_lacks_with_the_numbers_of_the_job() -> None:
    log = LogReports("epoch")
    first = LogPage(((0, "starting"), (0, line(1)), (0, line(2)), (0, line(3))), "a", at_end=False)
    assert [metrics["epoch"] for metrics in log.take(first, count=1)] == [2, 3]
    # Interrupted after epoch 3, resumed from the checkpoint of epoch 1.
    second = LogPage(((1, line(2)), (1, line(3)), (1, line(4))), "b", at_end=True)
    assert [metrics["epoch"] for metrics in log.take(second, count=3)] == [4]
    assert log.cursor == "b" and log.at_end
