from __future__ import annotations

import json
from pathlib import Path

import pytest
from operations_lab import T0, Lab, story, write_journal

from cloudtune import cli
from cloudtune.experiment import events as ev
from cloudtune.experiments.operations.account import Access
from cloudtune.experiments.operations.costs import cost_report, cost_so_far
from cloudtune.experiments.operations.subject import find_subject
from cloudtune.instance_info import price_per_hour
from cloudtune.paths import ExperimentPaths
from cloudtune.sagemaker_backend.billing import TUNER_INSTANCE

Capture = pytest.CaptureFixture[str]
NOTHING = "print('done')"


def measured(
    source: str, usd: float, billed_s: float, final: bool = True, trial_id: int | None = None
) -> ev.Event:
    return ev.CostMeasured(T0 + 3, 3.0, source, usd, billed_s, final, trial_id)


def test_recorded_costs_are_taken_and_the_rest_is_asked(lab: Lab, capsys: Capture) -> None:
    price = price_per_hour("ml.m5.large") or 0.0
    events = [
        *story(2),
        measured("0-0-paid", 0.01, 10.0, final=False, trial_id=0),  # replaced by the next
        measured("0-0-paid", 100 * price / 3600, 100.0, trial_id=0),
        measured("1-0-paid", 0.005, 5.0, final=False, trial_id=1),
        measured("9-0-paid", 0.25, 900.0, final=False, trial_id=9),  # the service knows nothing of it any more
        measured("warm pool of 0-0-paid", 0.5, 60.0, trial_id=0),
        measured(TUNER_INSTANCE, 7.0, 1000.0, final=False),
    ]
    lab.experiment("paid", events)
    lab.ended(lab.start_trial("paid", 0, script=NOTHING), lab.start_trial("paid", 1, script=NOTHING))
    lab.ended(lab.start_tuner("paid", script=NOTHING))
    begin = lab.now()
    report = cost_report(find_subject("paid", None, Access()))
    assert lab.calls(begin)["ListTrainingJobs"] == 1
    # The tuner's job twice (it is the newest), the trial that is not final, and one that tells the instance.
    assert lab.calls(begin)["DescribeTrainingJob"] == 4
    rows = {row.source: row for row in report.rows}
    assert list(rows) == ["paid", "0-0-paid", "warm pool of 0-0-paid", "1-0-paid", "9-0-paid"]
    assert (rows["0-0-paid"].billed_s, rows["0-0-paid"].final) == (100.0, True)
    assert rows["0-0-paid"].instance == "ml.m5.large"
    assert rows["0-0-paid"].usd_per_hour == pytest.approx(price)
    billed = {name: lab.jobs.describe(name).billable_s or 0 for name in ("paid", "1-0-paid")}
    for name, seconds in billed.items():
        assert rows[name].billed_s == seconds
        assert rows[name].usd == pytest.approx(seconds * price / 3600)
    assert report.usd == pytest.approx(100 * price / 3600 + sum(billed.values()) * price / 3600 + 0.5 + 0.25)
    assert report.estimated_usd == pytest.approx(0.25)
    assert cli.main(["cost", "paid"]) == 0
    said = capsys.readouterr().out
    assert "~$0.25 is estimated" in said and f"Prices of {report.prices}" in said
    assert cli.main(["cost", "paid", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["usd"] == pytest.approx(report.usd)


def test_status_counts_what_earlier_jobs_of_the_tuner_have_cost(lab: Lab) -> None:
    """It asks for the newest one alone."""
    earlier, now = (f"{TUNER_INSTANCE} since {when}" for when in ("2023-11-14 22:13:20", "2123-11-14 22:13:20"))
    costs = [measured("0-0-both", 0.25, 9.0, trial_id=0), measured(earlier, 0.5, 9.0), measured(now, 7.0, 9.0)]
    lab.experiment("both", [*story(1), *costs])
    lab.ended(lab.start_tuner("both", "both-r2", script=NOTHING))
    newest = lab.jobs.describe("both-r2").billable_s or 0
    usd = cost_so_far(find_subject("both", None, Access()))
    assert usd == pytest.approx(0.75 + newest * (price_per_hour("ml.m5.large") or 0.0) / 3600)


def test_a_price_that_nobody_knows(lab: Lab, capsys: Capture) -> None:
    lab.experiment("odd")
    lab.ended(lab.start_trial("odd", 0, script=NOTHING, instance_type="ml.r5d.24xlarge"))
    assert price_per_hour("ml.r5d.24xlarge") is None
    assert cli.main(["cost", "odd"]) == 0
    said = capsys.readouterr().out
    assert "unknown price" in said and "1 row whose price is not known" in said


def test_nothing_is_paid_for_here(own_folder: Path, capsys: Capture) -> None:
    write_journal(ExperimentPaths(own_folder / "mine"), story(), backend="LocalBackend")
    assert cli.main(["cost", "mine"]) == 0
    assert "Nothing is paid for" in capsys.readouterr().out
    assert cli.main(["cost"]) == 2
    assert "--tag TAG" in capsys.readouterr().err
