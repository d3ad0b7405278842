from __future__ import annotations

import pytest
from operations_lab import FAR, Lab, story, write_journal

from cloudtune import cli
from cloudtune.aws.job_status import JobState, JobStatus
from cloudtune.aws.objects import S3Object
from cloudtune.emulator.faults.scenario import Scenario
from cloudtune.experiments.operations.inventory import stored_experiments
from cloudtune.experiments.operations.jobs import common_part, jobs_by_experiment
from cloudtune.names import retry_name, trial_job_name
from cloudtune.paths import ExperimentPaths, S3Uri
from cloudtune.remote.claim_record import ClaimRecord
from cloudtune.stores.file import FileStore

Capture = pytest.CaptureFixture[str]


def test_what_is_left_and_what_is_not_touched(lab: Lab, capsys: Capture) -> None:
    over = lab.experiment("over", story(ended=True), tag="study")
    half = lab.experiment("half")
    busy = lab.experiment("busy", claim=FAR)
    for where in (over, half, busy):
        lab.put(where.checkpoints / "0/model.bin", "x" * 1000)
        lab.put(where.reports / "0-0/0000-000000.jsonl", "y")
    kept = [
        lab.put(S3Uri(lab.bucket, "cloudtune/_code/0123/code.tar.gz")),
        lab.put(S3Uri(lab.bucket, "over/checkpoints/0/model.bin")),
        lab.put(S3Uri(lab.bucket, "cloudtune-other/over/state/metadata.json")),
        lab.put(S3Uri(lab.bucket, "cloudtune/no-experiment/checkpoints/0/model.bin")),
    ]
    everything = lab.keys(S3Uri(lab.bucket))

    assert cli.main(["clean", "--all", "--checkpoints", "--dry_run", "--verbose"]) == 0
    said = capsys.readouterr().out
    assert "1 in reports/, 1 in checkpoints/" in said and "Keeping these 1.0 kB in S3 costs" in said
    assert "busy is left alone: its tuner, me@far.away:77, has written" in said
    assert cli.main(["clean", "--all", "--checkpoints"]) == 2  # nobody to ask
    assert lab.keys(S3Uri(lab.bucket)) == everything

    assert cli.main(["clean", "--all", "--yes"]) == 0
    assert "1 object deleted" in capsys.readouterr().out
    gone = set(everything) - set(lab.keys(S3Uri(lab.bucket)))
    assert gone == {"cloudtune/study/over/reports/0-0/0000-000000.jsonl"}
    assert cli.main(["clean", "--all", "--checkpoints", "--yes"]) == 0
    gone = set(everything) - set(lab.keys(S3Uri(lab.bucket)))
    assert gone == {
        "cloudtune/study/over/reports/0-0/0000-000000.jsonl",
        "cloudtune/study/over/checkpoints/0/model.bin",
    }
    assert cli.main(["clean", "--all", "--everything", "--yes"]) == 0
    left = lab.keys(S3Uri(lab.bucket))
    assert not any(key.startswith("cloudtune/study/") for key in left)
    assert set(lab.keys(half.root)) == set(lab.keys(busy.root))  # the interrupted one was not named
    assert cli.main(["clean", "half", "--everything", "--yes"]) == 0
    assert lab.keys(half.root) == []
    assert all(uri.key in left for uri in kept)
    assert cli.main(["clean", "--all", "--everything", "--yes"]) == 0
    assert "Nothing to clean." in capsys.readouterr().out
    assert cli.main(["clean", "half"]) == 3


def test_a_study_of_which_one_is_still_tuned(lab: Lab, capsys: Capture) -> None:
    over = lab.experiment("over", story(ended=True), tag="study")
    busy = lab.experiment("busy", claim=FAR, tag="study")
    for where in (over, busy):
        lab.put(where.reports / "0-0/x")
    assert cli.main(["clean", "--tag", "study", "--yes"]) == 9
    assert "busy is left alone: its tuner" in capsys.readouterr().out
    assert (lab.keys(over.reports), lab.keys(busy.reports)) == ([], ["0-0/x"])


def test_only_old_ones(lab: Lab, capsys: Capture) -> None:
    where = lab.experiment("young", story(ended=True))
    lab.put(where.reports / "0-0/x")
    assert cli.main(["clean", "young", "--older_than", "1", "--everything", "--yes"]) == 0
    assert "it is not that old" in capsys.readouterr().out
    assert lab.keys(where.reports) == ["0-0/x"]


def test_jobs_whose_tuner_is_dead_are_stopped(lab: Lab, capsys: Capture) -> None:
    where = lab.experiment("lost", story(ended=True))
    lab.put(where.reports / "0-0/x")
    lab.experiment("led")
    orphan, other = lab.start_trial("lost", 0), lab.start("0-0-unknown")
    tuner, trial = lab.start_tuner("led"), lab.start_trial("led", 0)
    begin = lab.now()
    assert cli.main(["clean", "--all", "--dry_run", "--verbose"]) == 0
    calls = lab.calls(begin)
    assert (calls["ListTrainingJobs"], calls["DescribeTrainingJob"], calls["ListObjectsV2"]) == (3, 0, 1)
    assert "led is left alone: it is being tuned by job led" in capsys.readouterr().out
    assert cli.main(["clean", "--all", "--yes"]) == 0
    assert "1 job stopped" in capsys.readouterr().out
    assert [lab.state(name) for name in (orphan, other, tuner, trial)] == ["Stopped"] + ["InProgress"] * 3
    assert lab.keys(where.reports) == []


def test_instances_kept_warm_are_given_back(lab: Lab, capsys: Capture) -> None:
    lab.aws.apply_scenario(Scenario.from_json({"schema": 1, "faults": [], "quotas": {"*": {"warm_pool": 2}}}))
    lab.experiment("warm", story(ended=True))
    job = lab.start_trial("warm", 0, script="print('done')", keep_alive_s=600)
    other = lab.start("0-0-unknown", script="print('done')", keep_alive_s=600)
    lab.ended(job, other)
    assert lab.jobs.describe(job).warm_pool_status == "Available"
    assert cli.main(["clean", "warm", "--yes"]) == 0
    assert "1 warm pool ended" in capsys.readouterr().out
    assert [lab.jobs.describe(name).warm_pool_status for name in (job, other)] == ["Terminated", "Available"]


def test_a_tuner_that_begins_meanwhile_is_left_alone(
    lab: Lab, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = lab.experiment("over", story(ended=True))
    lab.put(where.reports / "0-0/x")

    def yes_but_late(*_: object) -> bool:
        lab.start_tuner("over")
        return True

    monkeypatch.setattr("cloudtune.cli.clean.confirm", yes_but_late)
    assert cli.main(["clean", "over"]) == 9
    assert lab.keys(where.reports) == ["0-0/x"]


def test_a_tuner_on_this_machine(lab: Lab, own_folder: object, capsys: Capture) -> None:
    where = lab.experiment("mine", claim=ClaimRecord("x", released=True))
    lab.put(where.reports / "0-0/x")
    paths = ExperimentPaths.of("mine")
    write_journal(paths, story())
    store = FileStore(paths)
    store.open("far.away:1")  # another machine that shares the folder
    assert cli.main(["clean", "mine", "--everything", "--yes"]) == 9
    said = capsys.readouterr().out
    assert "mine is left alone: it is being tuned by process far.away:1.\n  -> cloudtune stop mine\n" in said
    assert cli.main(["clean", "--all", "--everything", "--yes"]) == 0  # it was not meant in particular
    assert lab.keys(where.reports) == ["0-0/x"]
    store.close()


def test_arguments(capsys: Capture) -> None:
    for arguments in ([], ["x", "--all"], ["--all", "--tag", "x"]):
        assert cli.main(["clean", *arguments]) == 2
    assert cli.main(["clean", "--all"]) == 7
    assert "no AWS credentials" in capsys.readouterr().err


def listed(*keys: str) -> list[S3Object]:
    return [S3Object(S3Uri("b-u-c", key), 1, "e", 1.0) for key in keys]


def test_experiments_in_a_listing() -> None:
    found = stored_experiments(
        listed(
            "cloudtune/one/state/metadata.json",
            "cloudtune/one/checkpoints/0/model.bin",
            "cloudtune/tag/two/state/journal/00000000.jsonl",
            "cloudtune/tag/two/reports/0-0/x",
            "cloudtune/tag/state/state/metadata.json",
            "cloudtune/tag/state/checkpoints/0/m",
            "cloudtune/tag/never/checkpoints/0/m",
            "cloudtune/_code/x/state/metadata.json",
            "other/one/state/metadata.json",
            "cloudtune/a/b/c/state/metadata.json",
        )
    )
    assert [(e.tag, e.name, {part: len(items) for part, items in e.parts.items()}) for e in found] == [
        (None, "one", {"state": 1, "checkpoints": 1}),
        ("tag", "state", {"state": 1, "checkpoints": 1}),
        ("tag", "two", {"state": 1, "reports": 1}),
    ]


def job(name: str) -> JobStatus:
    return JobStatus(name, f"arn:{name}", JobState.running)


@pytest.mark.parametrize("name", ["a", "2-1-b", "x" * 48, "x" * 63, "study-" + "y-" * 20 + "z"])
def test_jobs_of_experiments_with_names_of_any_length(name: str) -> None:
    tuner = [retry_name(name, run) for run in (1, 2, 3)]
    trials = [trial_job_name(name, 12, 3), trial_job_name(name, 999999, 999, 99)]
    assert all(common_part(name) in job_name for job_name in tuner + trials)
    others = [trial_job_name("other", 1, 0), "other", f"{name[:-1]}q"]
    found = jobs_by_experiment(map(job, tuner + trials + others), [name, "other"])
    assert [status.name for status in found[name].tuner] == tuner[::-1]
    assert [item.status.name for item in found[name].trials] == trials
    assert [item.key for item in found[name].trials] == [(12, 3, 0), (999999, 999, 99)]
    assert [item.status.name for item in found["other"].trials] == others[:1]


def test_a_later_run_is_an_experiment_of_its_own_if_there_is_one() -> None:
    found = jobs_by_experiment([job("exp"), job("exp-r2")], ["exp", "exp-r2"])
    assert {name: [status.name for status in jobs.tuner] for name, jobs in found.items()} == {
        "exp": ["exp"],
        "exp-r2": ["exp-r2"],
    }
