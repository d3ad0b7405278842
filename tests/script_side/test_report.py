"""Reporter and its parser."""

from __future__ import annotations

import copy
import decimal
import enum
import io
import json
import math
import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtune import constants
from cloudtune.errors import CloudtuneError, SpecError
from cloudtune.instance_info import price_per_hour
from cloudtune.report import MAX_REPORT_BYTES, TAG, Reporter, parse_report, retrieve


class Color(enum.IntEnum):
    RED = 1


@pytest.fixture(autouse=True)
def _no_price(monkeypatch):
    for name in (constants.ENV_PRICE_PER_HOUR, "SM_HP_ST_INSTANCE_TYPE", "SM_HP_ST_INSTANCE_COUNT"):
        monkeypatch.delenv(name, raising=False)


def reported(capfd) -> list[dict]:
    return retrieve(capfd.readouterr().out.splitlines())


def run_script(code: str) -> subprocess.CompletedProcess:
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, timeout=60, check=False, env=buffered)


# --- what is printed ---


def test_a_report_is_one_tagged_line_of_json(capfd):
    Reporter()(epoch=3, accuracy=0.5)
    out = capfd.readouterr().out
    assert out.startswith("[tune-metric]: {")
    assert out.endswith("}\n")
    assert out.count("\n") == 1
    report = json.loads(out[len(TAG) :])
    assert report["epoch"] == 3
    assert report["accuracy"] == 0.5


def test_times_and_count(capfd):
    report = Reporter()
    report(loss=1)
    report(loss=2)
    first, second = reported(capfd)
    assert [first["st_worker_iter"], second["st_worker_iter"]] == [0, 1]
    assert 0 <= first["st_worker_time"] <= second["st_worker_time"] < 60
    assert first["st_worker_timestamp"] <= second["st_worker_timestamp"]
    assert "st_worker_cost" not in first


def test_without_times(capfd):
    report = Reporter(add_time=False)
    report(loss=1)
    report(loss=1)
    assert reported(capfd) == [{"loss": 1, "st_worker_iter": 0}, {"loss": 1, "st_worker_iter": 1}]


def test_cost_by_price(capfd, monkeypatch):
    monkeypatch.setenv(constants.ENV_PRICE_PER_HOUR, "7200")
    Reporter()(loss=1)
    Reporter(add_cost=False)(loss=1)
    with_cost, without = reported(capfd)
    assert with_cost["st_worker_cost"] == pytest.approx(2 * with_cost["st_worker_time"])
    assert "st_worker_cost" not in without


def test_cost_inside_sagemaker(capfd, monkeypatch):
    monkeypatch.setenv("SM_HP_ST_INSTANCE_TYPE", "ml.p3.16xlarge")
    monkeypatch.setenv("SM_HP_ST_INSTANCE_COUNT", "2")
    Reporter()(loss=1)
    monkeypatch.setenv("SM_HP_ST_INSTANCE_TYPE", "ml.unheard.of")
    Reporter()(loss=1)
    known, unknown = reported(capfd)
    price = price_per_hour("ml.p3.16xlarge")
    assert known["st_worker_cost"] == pytest.approx(known["st_worker_time"] * 2 * price / 3600)
    assert "st_worker_cost" not in unknown


@pytest.mark.parametrize("price", ["cheap", "", "-1", "nan", "inf"])
def test_a_price_that_is_none_is_refused(monkeypatch, price):
    monkeypatch.setenv(constants.ENV_PRICE_PER_HOUR, price)
    with pytest.raises(SpecError, match="CLOUDTUNE_PRICE_PER_HOUR"):
        Reporter()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, True),
        (np.bool_(False), False),
        (np.float32(0.5), 0.5),
        (np.float64(0.1), 0.1),
        (np.longdouble(0.5), 0.5),
        (np.int64(7), 7),
        (np.array(3.0), 3.0),
        (np.array([[2]]), 2),
        (decimal.Decimal("0.25"), 0.25),
        (Color.RED, 1),
        ("zwölf\n[tune-metric]: {", "zwölf\n[tune-metric]: {"),
        (-math.inf, -math.inf),
        (np.float32("inf"), math.inf),
        ([1, (2.5, "x")], [1, [2.5, "x"]]),
        ({"a": {"b": [np.int8(1)]}}, {"a": {"b": [1]}}),
        (10**30, 10**30),
    ],
)
def test_values(capfd, value, expected):
    Reporter()(metric=value)
    (report,) = reported(capfd)
    assert report["metric"] == expected
    assert type(report["metric"]) is type(expected)


def test_torch_scalars(capfd):
    torch = pytest.importorskip("torch")
    Reporter()(a=torch.tensor(2), b=torch.ones(1, requires_grad=True), c=torch.tensor(0.5, dtype=torch.bfloat16))
    (report,) = reported(capfd)
    assert (report["a"], report["b"], report["c"]) == (2, 1.0, 0.5)


def test_nan(capfd):
    Reporter()(loss=float("nan"), other=np.float32("nan"))
    (report,) = reported(capfd)
    assert math.isnan(report["loss"])
    assert math.isnan(report["other"])


# --- what is refused ---

cyclic: list = []
cyclic.append(cyclic)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [1, None],
        {"deep": {1: 2}},
        {1, 2},
        object(),
        b"bytes",
        1j,
        np.zeros(3),
        np.zeros(0),
        np.array(["2020-01-01"], dtype="datetime64[s]"),
        cyclic,
        "x" * MAX_REPORT_BYTES,
        10**5000,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_reported_is_refused_by_name(capfd, value):
    report = Reporter()
    with pytest.raises(SpecError, match="culprit"):
        report(fine=1.0, culprit=value)
    report(fine=1.0)
    (only,) = reported(capfd)
    assert only["st_worker_iter"] == 0


def test_a_large_tensor_is_refused_by_name_and_shape():
    torch = pytest.importorskip("torch")
    with pytest.raises(SpecError, match=r"culprit.*\(2, 3\)"):
        Reporter()(culprit=torch.zeros(2, 3))


@pytest.mark.parametrize("key", ["st_worker_time", "st_mine"])
def test_reserved_keys_are_refused(key):
    with pytest.raises(SpecError, match=key):
        Reporter()(**{key: 1})


def test_an_empty_key_or_report_is_refused():
    with pytest.raises(SpecError, match="not empty"):
        Reporter()(**{"": 1})
    with pytest.raises(SpecError, match="without metrics"):
        Reporter()()


def test_self_is_a_metric_like_others(capfd):
    Reporter()(self=1)
    assert reported(capfd)[0]["self"] == 1


# --- how it is printed ---


def test_reports_of_threads_and_processes_do_not_mix():
    code = """
import os, sys, threading
from cloudtune.report import Reporter
report = Reporter()
def work(name):
    for i in range(50):
        report(name=name, pad="x" * 3000)
        print("noise from", name)
other = os.fork()
threads = [threading.Thread(target=work, args=(f"{other > 0}-{n}",)) for n in range(4)]
[t.start() for t in threads]
[t.join() for t in threads]
sys.stdout.flush()
if other:
    os.waitpid(other, 0)
else:
    os._exit(0)
"""
    reports = retrieve(run_script(code).stdout.split(b"\n"))
    assert len(reports) == 400
    for process in ("True", "False"):
        own = [r["st_worker_iter"] for r in reports if r["name"].startswith(process)]
        assert own == list(range(200))


def test_what_was_printed_before_comes_before():
    code = """
from cloudtune.report import Reporter
print('before')
print('50%', end='')
Reporter()(loss=1)
print('after')
"""
    lines = run_script(code).stdout.decode().splitlines()
    assert lines[0] == "before"
    assert lines[1].startswith("50%[tune-metric]: ")
    assert parse_report(lines[1])["loss"] == 1
    assert lines[2] == "after"


def test_redirected_output(capfd):
    stream = io.StringIO()
    old, sys.stdout = sys.stdout, stream
    try:
        Reporter()(loss=1)
    finally:
        sys.stdout = old
    assert parse_report(stream.getvalue())["loss"] == 1
    assert reported(capfd) == []


def test_a_full_pipe_that_does_not_block():
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    code = (
        "from cloudtune.report import Reporter\nreport = Reporter()\nfor i in range(30): report(pad='x' * 40000)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=write_end, stderr=subprocess.PIPE)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as stream:
        reports = retrieve(stream)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert [r["st_worker_iter"] for r in reports] == list(range(30))


@pytest.mark.parametrize(
    "closing",
    ["sys.stdout.close()", "os.close(1)", "sys.stdout = None", "r, w = os.pipe(); os.close(r); os.dup2(w, 1)"],
)
def test_closed_output_is_a_clear_error(closing):
    code = f"""
import os, sys
from cloudtune.report import Reporter
{closing}
try:
    Reporter()(loss=1)
except Exception as error:
    sys.stderr.write(type(error).__name__ + ": " + str(error))
    os._exit(7)
"""
    done = run_script(code)
    assert done.returncode == 7
    assert done.stderr.startswith(b"CloudtuneError: Reporter cannot write to standard output")


def test_error_classes():
    assert issubclass(SpecError, CloudtuneError)
    assert issubclass(SpecError, ValueError)


def test_reporters_can_be_copied_and_pickled(capfd):
    for reporter in (copy.deepcopy(Reporter()), pickle.loads(pickle.dumps(Reporter()))):
        reporter(loss=1)
    assert len(reported(capfd)) == 2


def test_threads_of_one_process_share_the_count(capfd):
    report = Reporter()
    threads = [threading.Thread(target=lambda: report(loss=1)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [r["st_worker_iter"] for r in reported(capfd)] == list(range(8))


def test_importing_it_wakes_little():
    code = "import sys\nfrom cloudtune.report import Reporter\nprint('\\n'.join(sys.modules))"
    before = set(run_script("import sys\nprint('\\n'.join(sys.modules))").stdout.decode().split())
    added = {name.split(".")[0] for name in run_script(code).stdout.decode().split() if name not in before}
    slow = {"argparse", "csv", "dataclasses", "hashlib", "inspect", "logging", "numpy", "subprocess", "threading"}
    assert not added & slow
    assert "cloudtune" in added


# --- the parser ---

scalars = st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=20))
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
keys = st.text(min_size=1, max_size=10).filter(lambda key: not key.startswith("st_"))


@settings(max_examples=60, deadline=None)
@given(metrics=st.dictionaries(keys, values, min_size=1, max_size=4), before=st.text(max_size=30))
def test_what_is_reported_is_what_is_parsed(metrics, before):
    stream = io.StringIO(newline="")
    old, sys.stdout = sys.stdout, stream
    try:
        Reporter(add_time=False)(**metrics)
    finally:
        sys.stdout = old
    line = stream.getvalue()
    assert parse_report(line) == {**metrics, "st_worker_iter": 0}
    noisy = before.replace("{", "(") + line
    assert parse_report(noisy) == parse_report(noisy.encode("utf-8", "replace")) == parse_report(line)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60))
def test_garbage_is_no_report(noise):
    tagged = (b"[tune-metric]: {" if isinstance(noise, bytes) else "[tune-metric]: {") + noise
    for line in (noise, tagged):
        report = parse_report(line)
        assert report is None or isinstance(report, dict)


@pytest.mark.parametrize(
    "line",
    [
        "",
        b"",
        "epoch 3",
        "[tune-metric]:",
        "[tune-metric]: ",
        '[tune-metric]: {"a": 1',
        "[tune-metric]: [1]",
        "[tune-metric]: 1",
        '[tune-metric]:{"a": 1}',
        b'\xff[tune-metric]: {"a": \xff}',
        "[tune-metric]: " + '{"a":' * 100_000,
    ],
)
def test_lines_without_report(line):
    assert parse_report(line) is None


def test_a_broken_tag_before_the_report():
    assert parse_report('[tune-metric]: {"lo[tune-metric]: {"loss": NaN}\r\n').keys() == {"loss"}
    assert parse_report(b'\xff\xfe 42%|### [tune-metric]: {"a": 1}') == {"a": 1}


def test_retrieve_keeps_order_and_skips_the_rest():
    lines = ['[tune-metric]: {"a": 1}', b"noise", '[tune-metric]: {"a": ', b'x [tune-metric]: {"a": 2}\n']
    assert retrieve(lines) == [{"a": 1}, {"a": 2}]
