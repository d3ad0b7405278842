"""What RemoteLauncher refuses, and what it would send; nothing is sent here."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import tarfile
from pathlib import Path
from typing import Any

import dill
import pytest
from hypothesis import given
from hypothesis import strategies as st
from remote_rig import SCRIPTS, reported, started

from cloudtune import Reporter, StoppingCriterion, Tuner
from cloudtune.aws.objects import S3Objects
from cloudtune.backend import LocalBackend
from cloudtune.config_space import choice, loguniform, randint, uniform
from cloudtune.errors import SnapshotError, SpecError
from cloudtune.experiment.events import ExperimentEnded
from cloudtune.job_spec import TrainingJobSpec
from cloudtune.optimizer.baselines import ASHA, RandomSearch
from cloudtune.paths import S3ExperimentPaths, S3Uri
from cloudtune.remote import RemoteLauncher
from cloudtune.remote.console_metrics import MAX_DEFINITIONS
from cloudtune.remote.estimator_arguments import resource_arguments
from cloudtune.remote.job_image import choose_image, python_of
from cloudtune.remote.job_view import Progress, end_of
from cloudtune.remote.tuner_package import as_code, build_tuner_archive
from cloudtune.remote.tuning_job import JobResources, TuningJob, continued_by, tuning_job_spec
from cloudtune.remote.tuning_metrics import metric_definitions
from cloudtune.stores.lines import encode_lines
from cloudtune.tuner_callback import TunerCallback

SCRIPT = SCRIPTS / "train_height" / "train_height.py"
SPACE = {"steps": 3, "sleep_time": 0.01, "width": uniform(0, 20), "height": uniform(-100, 100)}


def make_tuner(script: Any = SCRIPT, **options: Any) -> Tuner:
    search = RandomSearch(SPACE, metric="mean_loss", random_seed=1)
    criterion = options.pop("stop_criterion", StoppingCriterion(max_num_trials_finished=2))
    return Tuner(LocalBackend(script), search, criterion, n_workers=2, **options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"use_spot_instance": True}, "Did you mean use_spot_instances"),
        ({"hyperparameters": {}}, "Valid are .*max_run.*volume_size"),
        ({"instance_count": 2}, "tuning runs on one instance"),
        ({"max_run": 0}, "positive whole number"),
        ({"max_run": "1h"}, "positive whole number"),
        ({"use_spot_instances": "yes"}, "True or False"),
        ({"tags": [{"key": "a"}]}, "are no tags"),
        ({"tags": "team"}, "are no tags"),
        ({"environment": {"A": 1}}, "names to strings"),
        ({"subnets": "subnet-1"}, "list of strings"),
        ({"checkpoint_s3_uri": "/tmp"}, "no S3 URI"),
        ({"s3_path": "bucket/path"}, "no S3 URI"),
        ({"log_level": "LOUD"}, "no level"),
        ({"dependencies": "my_package"}, "must be a list"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=f"(?s){message}"):
        RemoteLauncher(make_tuner(), **arguments)


def test_estimator_arguments_become_resources() -> None:
    found = resource_arguments(
        {
            "use_spot_instances": True,
            "max_run": 100,
            "max_wait": 200,
            "volume_size": 50,
            "tags": [{"Key": "team", "Value": "vision"}],
            "environment": {"A": "b"},
            "subnets": ["s1", "s2"],
            "image_uri": "i",
            "instance_count": 1,
            "volume_kms_key": None,
        }
    )
    assert found == {
        "spot": True,
        "max_run_s": 100,
        "max_wait_s": 200,
        "volume_size_gb": 50,
        "tags": {"team": "vision"},
        "environment": {"A": "b"},
        "subnets": ("s1", "s2"),
    }


def test_what_cannot_be_shipped_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no Tuner"):
        RemoteLauncher("tuner")  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="no training script"):
        RemoteLauncher(make_tuner(tmp_path / "missing.py"))

    tuner = make_tuner()
    tuner.trial_backend = object()  # type: ignore[assignment]
    with pytest.raises(SpecError, match="cannot ship the script of a object"):
        RemoteLauncher(tuner)


def test_a_tuner_that_has_run_is_refused() -> None:
    tuner = make_tuner()
    tuner.run()
    with pytest.raises(SpecError, match="has been run here"):
        RemoteLauncher(tuner).run()


def test_what_travels(tmp_path: Path) -> None:
    folder = tmp_path / "my code"
    (folder / "lib").mkdir(parents=True)
    script = folder / "train it.py"
    script.write_text("pass")
    (folder / "lib" / "data.txt").write_text("x")
    (folder / "requirements.txt").write_text("scikit-learn>=1.4\nnumpy<99\n")
    package = tmp_path / "helpers"
    package.mkdir()
    (package / "__init__.py").write_text("")
    tuner = make_tuner(script)
    assert as_code(tuner).code_folders() == [folder]
    archive = build_tuner_archive(tuner, [package])
    with tarfile.open(fileobj=io.BytesIO(archive.data)) as tar:
        names = set(tar.getnames())
        requirements = tar.extractfile("requirements.txt").read().decode()  # type: ignore[union-attr]
    assert {"tuner/script/train it.py", "tuner/script/lib/data.txt", "tuner/tuner.dill"} <= names
    assert {"helpers/__init__.py", "cloudtune/remote/run_tuner.py", "cloudtune/remote/supervisor.py"} <= names
    assert "scikit-learn>=1.4" in requirements
    assert re.search(r"^numpy<99,>=1.26,>=\d", requirements, re.MULTILINE)
    assert f">={dill.__version__}" in requirements, "an older one could not read the pickle"


def test_modules_that_would_be_missing_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "my_callbacks"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "loud.py").write_text(
        "from cloudtune.tuner_callback import TunerCallback\nclass Loud(TunerCallback): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import my_callbacks.loud  # type: ignore[import-not-found]

    tuner = make_tuner(callbacks=[my_callbacks.loud.Loud()])
    with pytest.raises(SpecError, match=r"my_callbacks.loud") as caught:
        build_tuner_archive(tuner, [])
    assert caught.value.hint == f"Pass dependencies=[{str(package)!r}]."
    build_tuner_archive(tuner, [package])
    for name in ("my_callbacks", "my_callbacks.loud"):
        monkeypatch.delitem(sys.modules, name)


def test_what_cannot_be_pickled_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file:
        callback = TunerCallback()
        callback.file = iter(lambda: file, None)  # type: ignore[attr-defined]
        callback.frame = sys._getframe()  # type: ignore[attr-defined]
        with pytest.raises(SnapshotError, match="cannot be pickled"):
            build_tuner_archive(make_tuner(callbacks=[callback]), [])


def test_the_script_of_a_command_is_replaced() -> None:
    backend = LocalBackend(("torchrun", "--standalone", str(SCRIPT)))
    backend.set_entrypoint("/opt/ml/elsewhere.py")
    assert backend.metadata()["entry_point"] == "torchrun --standalone /opt/ml/elsewhere.py"
    backend = LocalBackend(SCRIPT)
    backend.set_entrypoint(Path("/opt/ml/elsewhere.py"))
    assert backend.entrypoint_path() == Path("/opt/ml/elsewhere.py")


def test_the_image_has_this_python(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    def choose(given: str | None = None, version: str | None = None, any_python: bool = False) -> str:
        return choose_image("us-east-1", "ml.c5.xlarge", given, version, None, any_python)

    here = sys.version_info[:2]
    known = {(3, 10), (3, 11), (3, 12)}
    if here in known:
        assert python_of(choose()) == here
    assert caplog.text == ""
    other = "123456789012.dkr.ecr.us-east-1.amazonaws.com/mine:1.0-cpu-py39"
    with caplog.at_level(logging.WARNING):
        assert choose(other, any_python=True) == other
        assert caplog.text == "", "on the emulator, jobs have this Python"
        assert choose(other) == other
    assert "has Python 3.9" in caplog.text
    assert python_of("mine:latest") is None


def test_no_image_with_this_python_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Version(tuple):  # type: ignore[type-arg]
        major, minor = 3, 99

    monkeypatch.setattr(sys, "version_info", Version((3, 99, 0, "final", 0)))
    with pytest.raises(SpecError, match=r"No PyTorch image with Python 3\.99"):
        choose_image("us-east-1", "ml.c5.xlarge", None, None, None, any_python=False)
    assert choose_image("us-east-1", "ml.c5.xlarge", None, None, None, any_python=True)


METRIC_SPACE = {"lr": loguniform(1e-6, 1), "layers": randint(1, 9), "act": choice(["relu", "tanh"]), "epochs": 9}


def test_definitions_are_of_what_is_a_number() -> None:
    scheduler = ASHA(METRIC_SPACE, metric="acc", resource_attr="epoch", max_resource_attr="epochs", random_seed=1)
    assert list(metric_definitions(scheduler)) == [
        "best_metric_value",
        "best_trial_id",
        "best_resource_value",
        "best_hp_lr",
        "best_hp_layers",
    ]
    many = {f"x{i}": uniform(0, 1) for i in range(60)}
    assert len(metric_definitions(RandomSearch(many, metric="acc", random_seed=1))) == MAX_DEFINITIONS


@given(st.one_of(st.floats(), st.integers(), st.sampled_from([12.75, 1e-05, -3, float("nan")])))
def test_definitions_read_every_number_whole(value: float) -> None:
    pattern = metric_definitions(RandomSearch(SPACE, metric="m", random_seed=1))["best_metric_value"]
    for text in (json.dumps(value), repr(value)):
        line = f'[tune-metric]: {{"best_metric_value": {text}, "best_trial_id": 3}}'
        found = re.search(pattern, line)
        assert found is not None
        assert found[1] == text


def test_definitions_read_what_the_reporter_prints(capfd: pytest.CaptureFixture[str]) -> None:
    Reporter(add_time=False)(best_metric_value=1e-05, best_trial_id=12, best_hp_width=-3)
    line = capfd.readouterr().out
    definitions = metric_definitions(RandomSearch(SPACE, metric="m", random_seed=1))
    read = {name: match[1] for name, pattern in definitions.items() if (match := re.search(pattern, line))}
    assert read == {"best_metric_value": "1e-05", "best_trial_id": "12", "best_hp_width": "-3"}


def test_further_jobs_have_legal_names_of_their_own() -> None:
    spec = TrainingJobSpec("a" * 63, "image", "role", "s3://bucket/x", checkpoint_s3_uri="s3://bucket/c")
    names = {continued_by(spec, number).name for number in range(2, 7)} | {spec.name}
    assert len(names) == 6
    assert all(len(name) <= 63 for name in names)
    assert continued_by(spec, 2).checkpoint_s3_uri == spec.checkpoint_s3_uri


def test_checkpoints_of_experiments_are_apart() -> None:
    """Trial 0 of one must not go on from trial 0 of another, whatever folder the user names."""
    resources = JobResources("ml.c5.xlarge", "role", "image", checkpoint_s3_uri="s3://bucket/cloudtune/")
    found = {}
    for name in ("one", "two"):
        where = S3ExperimentPaths.of("bucket", name)
        job = TuningJob(name, name, where, S3Uri("bucket", "code"), ["run.py"], {}, None, 1)
        found[name] = tuning_job_spec(job, resources, "us-east-1").checkpoint_s3_uri
        assert found[name] == str(where.checkpoints), "never what holds the state"
    assert found["one"] != found["two"]


def test_a_dependency_that_is_a_link_keeps_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "helpers-1.2").mkdir()
    (tmp_path / "helpers-1.2" / "__init__.py").write_text("")
    (tmp_path / "helpers").symlink_to("helpers-1.2")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    archive = build_tuner_archive(make_tuner(), ["../helpers"])
    assert "helpers/__init__.py" in {name for name, _ in archive.listing}
    (tmp_path / "__init__.py").write_text("")
    archive = build_tuner_archive(make_tuner(), [".."])
    assert f"{tmp_path.name}/__init__.py" in {name for name, _ in archive.listing}


def test_what_was_tuned_here_is_not_launched_under_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """load_experiment would show the old results as those of the job."""
    monkeypatch.setenv("CLOUDTUNE_FOLDER", str(tmp_path))
    make_tuner(tuner_name="mine", suffix_tuner_name=False).run()
    with pytest.raises(SpecError, match="was tuned on this machine"):
        RemoteLauncher(make_tuner(tuner_name="mine", suffix_tuner_name=False)).run()


def test_the_end_of_an_experiment_in_s3_is_found(objects: S3Objects, state: S3Uri) -> None:
    assert end_of(objects, state) is None
    end = ExperimentEnded(1e9, 3.0, "max_failures", "too many trials failed")
    objects.put(state / "journal/00000000.jsonl", b"".join(encode_lines([started(0)])))
    assert end_of(objects, state) is None
    objects.put(state / "journal/00000001.jsonl", b"".join(encode_lines([reported(0, 0), end])))
    objects.put(state / "journal/00000002.jsonl", b"")
    assert end_of(objects, state) == end


def test_progress_reads_each_event_once(objects: S3Objects, state: S3Uri, tmp_path: Path) -> None:
    progress = Progress(objects, state, tmp_path, "loss", "min")
    assert progress() == "0 trials, 0 reports"
    events = [started(0), *(reported(0, seq, loss=5.0 - seq) for seq in range(4))]
    for count, best in ((2, 5), (4, 3), (5, 2)):
        objects.put(state / "journal/00000000.jsonl", b"".join(encode_lines(events[:count])))
        assert progress() == f"1 trials, {count - 1} reports, best loss {best} (trial 0)"
