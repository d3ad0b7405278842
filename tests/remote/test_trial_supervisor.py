"""The supervisor of a trial's job as a real process: reports, restarts, the script's surroundings."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest
from remote_rig import eventually
from trial_rig import TRAIN, TrialJob, metrics, records

from cloudtune.aws.objects import S3Objects
from cloudtune.backend.local.arguments import arguments as local_arguments
from cloudtune.paths import TrialPaths

SHOW = """
import json, os, sys
print(json.dumps({"argv": sys.argv[1:], "cwd": os.getcwd(), "environ": dict(os.environ)}))
"""


def shown(job: TrialJob) -> dict[str, Any]:
    """What the script has seen of its surroundings."""
    del job.environment["CLOUDTUNE_REPORTS_URI"]  # it reports nothing
    job.script(SHOW)
    code, output, errors = job.run()
    assert code == 0, errors
    found: dict[str, Any] = json.loads(output)
    return found


def test_reports_arrive(trial_job: TrialJob, objects: S3Objects) -> None:
    trial_job.script(TRAIN)
    trial_job.hyperparameters(num_levels=5)
    code, output, errors = trial_job.run()
    assert code == 0, errors
    assert output.count(b"[tune-metric]: {") == 5, "the log has them as well"
    found = records(objects, trial_job.reports)
    assert [record["kind"] for record in found] == ["hello", *["report"] * 5, "end"]
    assert [report["level"] for report in metrics(found)] == [1, 2, 3, 4, 5]
    hello, end = found[0], found[-1]
    assert (hello["run"], hello["host"]) == (0, "algo-1")
    assert end == {"kind": "end", "exit_code": 0, "count": 5, "tail": "", "stopped": False}
    assert trial_job.failure is None


@pytest.mark.parametrize("resource_attr", ["level", None])
def test_a_lost_machine_loses_and_doubles_nothing(
    trial_job: TrialJob, objects: S3Objects, resource_attr: str | None
) -> None:
    """Killed twice: what comes from a checkpoint is not delivered again."""
    job = trial_job
    job.script(TRAIN)
    job.hyperparameters(num_levels=9)
    if resource_attr:
        job.environment["CLOUDTUNE_RESOURCE_ATTR"] = resource_attr
    job.environment["CLOUDTUNE_RUNG_LEVELS"] = "2,4,6"
    for level in (3, 7):
        job.gate(level)
        process = job.start()
        eventually(lambda least=level: len(metrics(records(objects, job.reports))) == least)
        if resource_attr:
            eventually(lambda least=level: job.seen_level == least, "S3 has confirmed them")
        job.lose_machine(process)
    code, output, errors = job.run()
    assert code == 0, errors
    first = json.loads(output.split(b"[tune-metric]: ")[1])["level"]
    assert first == 7, "from the checkpoint at level 6"
    found = records(objects, job.reports)
    assert [report["level"] for report in metrics(found)] == list(range(1, 10))
    assert [record["run"] for record in found if record["kind"] == "hello"] == [0, 1, 2]
    assert found[-1]["count"] == 9


def test_what_s3_never_got_is_made_again(trial_job: TrialJob, objects: S3Objects) -> None:
    """A checkpoint above the last report that S3 has must not be resumed from."""
    job = trial_job
    job.script(TRAIN)
    job.hyperparameters(num_levels=6)
    job.environment["CLOUDTUNE_RESOURCE_ATTR"] = "level"
    job.gate(5)
    process = job.start()
    eventually(lambda: len(metrics(records(objects, job.reports))) == 5)
    job.lose_machine(process)
    (item,) = objects.list(job.reports)
    content = objects.get(item.uri)
    objects.put(item.uri, content[: content.index(b'"seq":3') + 20])  # levels 4 and 5 are torn off
    assert job.run()[0] == 0
    (torn, rest) = objects.list(job.reports)
    assert objects.get(torn.uri) != objects.get(rest.uri)
    objects.delete([torn.uri])
    left = [record["metrics"]["level"] for record in records(objects, job.reports) if record["kind"] == "report"]
    assert left == [4, 5, 6]


def test_the_recorded_level_is_where_it_begins(trial_job: TrialJob) -> None:
    job = trial_job
    job.environment |= {"CLOUDTUNE_RESOURCE_ATTR": "level", "CLOUDTUNE_SEEN_LEVEL": "3"}
    assert Path(shown(job)["environ"]["CLOUDTUNE_SEEN_LEVEL_FILE"]).read_text() == "3"


VALUES: dict[str, Any] = {
    "epochs": 3, "lr": 1e-05, "shift": -1e-05, "name": 'a "b" it\'s', "empty": "", "unicode": "naïve 日本",
    "dash": "-x", "yes": True, "nothing": None, "layers": [1, "a b"], "nested": {"a": [None, 0.5]},
    "inf": float("-inf"),
}  # fmt: skip


def test_arguments_are_those_of_local_trials(trial_job: TrialJob) -> None:
    trial_job.hyperparameters(**VALUES)
    checkpoints = trial_job.root / "checkpoints"
    expected = local_arguments(VALUES, TrialPaths(trial_job.root, checkpoints), as_json=False)
    found = shown(trial_job)
    assert sorted(found["argv"]) == sorted(expected)
    for word, following in itertools.pairwise(expected):
        if word.startswith("--") and "=" not in word:
            assert found["argv"][found["argv"].index(word) + 1] == following
    assert found["cwd"] == str(trial_job.script_folder)
    assert checkpoints.is_dir()


def test_the_configuration_as_a_file(trial_job: TrialJob) -> None:
    trial_job.hyperparameters(**VALUES)
    trial_job.environment["CLOUDTUNE_CONFIG_AS_JSON"] = "1"
    first, name, second, folder = shown(trial_job)["argv"]
    assert (first, second) == ("--st_config_json_filename", "--st_checkpoint_dir")
    assert json.loads(Path(name).read_text()) == VALUES
    assert folder == str(trial_job.root / "checkpoints")


def test_the_variables_of_the_toolkit(trial_job: TrialJob) -> None:
    trial_job.hyperparameters(lr=0.5, name="x y", st_instance_type="ml.c5.xlarge", layers=[1, 2])
    channels = {"train": {"TrainingInputMode": "File"}, "cloudtune": {}, "eval-set": {}}
    (trial_job.config / "inputdataconfig.json").write_text(json.dumps(channels))
    resources = {
        "current_host": "algo-1",
        "hosts": ["algo-1"],
        "current_instance_type": "ml.c5.xlarge",
        "network_interface_name": "lo",
    }
    (trial_job.config / "resourceconfig.json").write_text(json.dumps(resources))
    found = shown(trial_job)
    environ, root = found["environ"], str(trial_job.root)
    assert {
        "SM_MODEL_DIR": f"{root}/model",
        "SM_OUTPUT_DIR": f"{root}/output",
        "SM_OUTPUT_DATA_DIR": f"{root}/output/data",
        "SM_INPUT_DIR": f"{root}/input",
        "SM_INPUT_CONFIG_DIR": f"{root}/input/config",
        "SM_CHANNELS": '["eval-set", "train"]',
        "SM_CHANNEL_TRAIN": f"{root}/input/data/train",
        "SM_CHANNEL_EVAL-SET": f"{root}/input/data/eval-set",
        "SM_HP_LR": "0.5",
        "SM_HP_NAME": "x y",
        "SM_HP_LAYERS": "[1, 2]",
        "SM_HP_ST_INSTANCE_TYPE": "ml.c5.xlarge",
        "SM_HOSTS": '["algo-1"]',
        "SM_CURRENT_HOST": "algo-1",
        "SM_CURRENT_INSTANCE_TYPE": "ml.c5.xlarge",
        "SM_NETWORK_INTERFACE_NAME": "lo",
        "SM_NUM_CPUS": str(os.cpu_count()),
        "SM_MODULE_NAME": "train",
        "SM_USER_ENTRY_POINT": "train.py",
        "PYTHONUNBUFFERED": "1",
    }.items() <= environ.items()
    assert "SM_CHANNEL_CLOUDTUNE" not in environ
    assert "MASTER_ADDR" not in environ
    assert json.loads(environ["SM_HPS"])["lr"] == 0.5
    assert json.loads(environ["SM_RESOURCE_CONFIG"]) == resources
    assert json.loads(environ["SM_USER_ARGS"]) == found["argv"]
    assert json.loads(environ["SM_TRAINING_ENV"])["hyperparameters"]["layers"] == [1, 2]
    assert int(environ["SM_NUM_GPUS"]) >= 0
    assert Path(environ["SM_MODEL_DIR"]).is_dir()


def test_gpus_are_those_of_the_driver(trial_job: TrialJob, tmp_path: Path) -> None:
    smi = tmp_path / "bin" / "nvidia-smi"
    smi.parent.mkdir()
    smi.write_text("#!/bin/sh\necho 'GPU 0: A (UUID: x)'; echo '  MIG 1g (UUID: y)'; echo 'GPU 1: A (UUID: z)'\n")
    smi.chmod(0o755)
    trial_job.environment["PATH"] = f"{smi.parent}:{trial_job.environment['PATH']}"
    assert shown(trial_job)["environ"]["SM_NUM_GPUS"] == "2"


def test_on_several_hosts_only_the_first_one_reports(trial_job: TrialJob, objects: S3Objects) -> None:
    job = trial_job
    job.environment |= {"CLOUDTUNE_RESOURCE_ATTR": "level"}
    job.script(TRAIN)
    job.hyperparameters(num_levels=4)
    job.hosts("algo-1", "algo-2", "algo-1")
    assert job.run()[0] == 0
    before = [(item.uri, item.etag) for item in objects.list(job.reports)]
    job.hosts("algo-2", "algo-2", "algo-1")
    job.script(TRAIN + "\nprint(config['st_checkpoint_dir'], os.environ['MASTER_ADDR'])")
    code, output, _ = job.run()
    assert code == 0
    assert output.count(b"[tune-metric]") == 4
    assert f"{job.root}/checkpoints/algo-2 algo-1".encode() in output
    assert [(item.uri, item.etag) for item in objects.list(job.reports)] == before
    assert job.seen_level == 4, "it resumes from where the first one does"


def test_a_program_with_a_script(trial_job: TrialJob) -> None:
    trial_job.command("sh", "-c", 'echo "$0 $@"; exit 3', "one")
    trial_job.hyperparameters(lr=0.5)
    code, output, _ = trial_job.run()
    assert (code, output) == (3, f"one --lr 0.5 --st_checkpoint_dir {trial_job.root}/checkpoints\n".encode())


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["missing.py"], "the code archive has no script/missing.py"),
        (["no-such-program", "train.py"], "the image has no program 'no-such-program'"),
        (["run.sh"], "neither a Python script (*.py) nor executable"),
        ([], "must be a JSON list of strings"),
    ],
)
def test_what_cannot_be_started_is_the_reason(trial_job: TrialJob, words: list[str], reason: str) -> None:
    trial_job.script("echo", "run.sh")
    trial_job.command(*words)
    assert trial_job.run()[0] == 1
    assert trial_job.failure is not None
    assert reason in trial_job.failure
