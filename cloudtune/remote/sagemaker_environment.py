"""The variables that scripts know from SageMaker's training toolkit. Standard library alone."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cloudtune.remote import job_layout as layout
from cloudtune.remote.job_configuration import JobConfiguration

_NVIDIA_SMI_TIMEOUT_S = 30.0
_MASTER_PORT = 7777
#: A longer one cannot be given to any program (Linux: 128 KiB for each, name included).
_MAX_BYTES = 120_000


def sagemaker_environment(
    job: JobConfiguration, command: Sequence[str], arguments: Sequence[str], script_folder: Path, num_gpus: int
) -> dict[str, str]:
    """``SM_MODEL_DIR``, ``SM_CHANNEL_TRAIN``, ``SM_HP_LR`` and all the others.

    Args:
        command: Words of the command without arguments made of hyperparameters.
        arguments: Those.
        num_gpus: Of this machine, see :func:`count_gpus`.
    """
    facts = _facts(job, command, arguments, script_folder, num_gpus)
    facts["training_env"] = {name: value for name, value in facts.items() if name not in ("user_args", "hps")}
    facts |= {f"channel_{name}": _data() / name for name in job.channels}
    facts |= {f"hp_{name}": value for name, value in job.hyperparameters.items()}
    variables = {f"SM_{name.upper()}": _as_text(value) for name, value in facts.items()}
    if len(job.hosts) > 1:
        variables |= {"MASTER_ADDR": job.hosts[0], "MASTER_PORT": str(_MASTER_PORT)}
    return {name: value for name, value in variables.items() if _is_possible(name, value)}


def count_gpus() -> int:
    """GPUs that the driver knows; 0 without one."""
    try:
        listing = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, timeout=_NVIDIA_SMI_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    return sum(line.startswith(b"GPU ") for line in listing.stdout.splitlines())


def _facts(
    job: JobConfiguration, command: Sequence[str], arguments: Sequence[str], script_folder: Path, num_gpus: int
) -> dict[str, Any]:
    root, resources = layout.ml_root(), job.resources
    output, config = root / "output", root / "input" / "config"
    script = next((word for word in command if word.endswith(".py")), command[0])
    groups = {group["instance_group_name"]: group for group in resources.get("instance_groups") or []}
    group = resources.get("current_group_name", "")
    return {
        "channels": sorted(job.channels),
        "channel_input_dirs": {name: str(_data() / name) for name in sorted(job.channels)},
        "current_host": job.host,
        "current_host_rank": job.hosts.index(job.host) if job.host in job.hosts else 0,
        "current_instance_group": group,
        "current_instance_group_hosts": groups.get(group, {}).get("hosts", job.hosts),
        "current_instance_type": resources.get("current_instance_type", ""),
        "host_count": len(job.hosts),
        "hosts": job.hosts,
        "hps": dict(job.hyperparameters),
        "hyperparameters": dict(job.hyperparameters),
        "input_config_dir": config,
        "input_data_config": dict(job.channels),
        "input_dir": root / "input",
        "instance_groups": sorted(groups),
        "instance_groups_dict": groups,
        "is_hetero": len(groups) > 1,
        "is_master": job.is_first_host,
        "job_name": os.environ.get("TRAINING_JOB_NAME", ""),
        "log_level": 20,
        "master_hostname": job.hosts[0],
        "model_dir": root / "model",
        "module_dir": script_folder,
        "module_name": Path(script).stem,
        "network_interface_name": resources.get("network_interface_name", "eth0"),
        "num_cpus": os.cpu_count() or 1,
        "num_gpus": num_gpus,
        "output_data_dir": output / "data",
        "output_dir": output,
        "output_intermediate_dir": output / "intermediate",
        "resource_config": dict(resources),
        "user_args": list(arguments),
        "user_entry_point": script,
    }


def _data() -> Path:
    return layout.ml_root() / "input" / "data"


def _as_text(value: Any) -> str:
    if isinstance(value, (str, Path)):
        return str(value)
    return json.dumps(value, sort_keys=True, default=str)


def _is_possible(name: str, value: str) -> bool:
    return "=" not in name and "\0" not in name + value and len(os.fsencode(name + value)) < _MAX_BYTES
