"""Scripts written for Syne Tune 0.13 find what exists here under the names by which they import it."""

from __future__ import annotations

import importlib

import pytest

from cloudtune.aws.images import image_uri

NAMES = {
    "": "Reporter StoppingCriterion Tuner",
    "backend": "LocalBackend SageMakerBackend",
    "backend.local_backend": "LocalBackend",
    "backend.sagemaker_backend.instance_info": "InstanceInfos select_instance_type",
    "backend.sagemaker_backend.sagemaker_backend": "SageMakerBackend",
    "backend.sagemaker_backend.sagemaker_utils": "default_sagemaker_session get_execution_role",
    "backend.trial_status": "Status Trial",
    "config_space": "add_to_argparse choice config_space_from_json_dict config_space_size "
    "config_space_to_json_dict finrange logfinrange logordinal lograndint loguniform ordinal qlograndint "
    "qloguniform qrandint quniform randint reverseloguniform uniform",
    "constants": "ST_CHECKPOINT_DIR ST_INSTANCE_TYPE ST_TUNER_TIME ST_WORKER_COST ST_WORKER_ITER ST_WORKER_TIME "
    "ST_WORKER_TIMESTAMP",
    "experiments": "ExperimentResult get_metadata list_experiments load_experiment load_experiments_df",
    "experiments.baselines": "MethodArguments",
    "experiments.benchmark_definitions": "RealBenchmarkDefinition real_benchmark_definitions",
    "experiments.benchmark_definitions.common": "RealBenchmarkDefinition",
    "experiments.default_baselines": "ASHA GridSearch RandomSearch",
    "experiments.launchers.hpo_main_local": "main",
    "experiments.launchers.hpo_main_sagemaker": "main",
    "experiments.launchers.launch_remote_local": "launch_remote",
    "experiments.launchers.launch_remote_sagemaker": "launch_remote",
    "optimizer.baselines": "ASHA GridSearch RandomSearch baselines_dict",
    "optimizer.scheduler": "SchedulerDecision TrialSuggestion",
    "optimizer.schedulers": "FIFOScheduler HyperbandScheduler",
    "optimizer.schedulers.fifo": "FIFOScheduler",
    "optimizer.schedulers.hyperband": "HyperbandScheduler",
    "optimizer.schedulers.searchers": "GridSearcher RandomSearcher",
    "remote.constants": "DEFAULT_CPU_INSTANCE DEFAULT_CPU_INSTANCE_SMALL DEFAULT_GPU_INSTANCE_1GPU "
    "DEFAULT_GPU_INSTANCE_4GPU PYTORCH_LATEST_FRAMEWORK PYTORCH_LATEST_PY_VERSION",
    "remote.remote_launcher": "RemoteLauncher",
    "report": "Reporter retrieve",
    "results_callback": "ExtraResultsComposer StoreResultsCallback",
    "stopping_criterion": "StoppingCriterion",
    "tuner": "Tuner",
    "tuner_callback": "TunerCallback",
    "tuning_status": "TuningStatus",
    "utils": "add_checkpointing_to_argparse add_config_json_to_argparse checkpoint_model_at_rung_level "
    "load_config_json parse_bool pytorch_load_save_functions resume_from_checkpointed_model "
    "streamline_config_space",
    "utils.convert_domain": "streamline_config_space",
}


@pytest.mark.parametrize("module", NAMES)
def test_names(module: str) -> None:
    found = importlib.import_module(f"cloudtune.{module}".rstrip("."))
    missing = [name for name in NAMES[module].split() if not hasattr(found, name)]
    assert not missing


def test_the_latest_framework_is_that_of_the_default_image() -> None:
    from cloudtune.remote.constants import PYTORCH_LATEST_FRAMEWORK, PYTORCH_LATEST_PY_VERSION

    where = {"region": "us-east-1", "instance_type": "ml.m5.large"}
    named = image_uri(version=PYTORCH_LATEST_FRAMEWORK, py_version=PYTORCH_LATEST_PY_VERSION, **where)
    assert named == image_uri(**where)
