"""Interpreter and environment of a job.

Each attempt has a small virtual environment (2 ms) in front of the emulator's own: what is installed here is
found, and what a job installs stays with the job. ``pip`` keeps its usual cache of downloads, shared by all jobs.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import site
import sys
import venv
from collections.abc import Mapping
from pathlib import Path

from cloudtune.emulator.client_environment import proxy_environment
from cloudtune.emulator.control.rules import ML_ROOT
from cloudtune.emulator.fleet.jobs import TrainingJob
from cloudtune.emulator.machine.hosts import Host
from cloudtune.emulator.machine.isolation import Isolation
from cloudtune.emulator.machine.job_credentials import credentials
from cloudtune.emulator.machine.ml_folder import JobFolder
from cloudtune.emulator.service_error import JsonObject

_ML_ROOT = re.compile(re.escape(ML_ROOT) + r"(?![\w.-])")
_DRIVERS = "sm_drivers"  # the SDK's name of the channel
_DRIVER_TEXTS = (".sh", ".py", ".json")
# Of the emulator's own environment: how to reach the network, and libraries of the hardware.
_PASSED_ON = (
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE",
    "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ",
)  # fmt: skip
_HTTPS_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ScriptFolder:
    """The console scripts of the emulator's environment, such that they run in the job's.

    A script names its interpreter in its first line; copies with ``env python3`` leave that to ``PATH``.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder
        folder.mkdir(parents=True, exist_ok=True)
        own = Path(sys.executable).parent
        if sys.prefix == sys.base_prefix or not own.is_dir():
            return
        for script in own.iterdir():
            if script.is_file() and not script.name.startswith(("python", "activate", "Activate")):
                self._copy(script)

    def _copy(self, script: Path) -> None:
        content = script.read_bytes() if script.stat().st_size < 1 << 16 else b""
        first, newline, rest = content.partition(b"\n")
        if first.startswith(b"#!") and b"python" in first and newline:
            target = self.path / script.name
            target.write_bytes(b"#!/usr/bin/env python3\n" + rest)
            target.chmod(0o755)


def make_interpreter(folder: JobFolder) -> Path:
    """Creates the job's virtual environment; returns the folder of its executables."""
    venv.EnvBuilder(symlinks=True, with_pip=False).create(folder.venv)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder.venv / "lib" / version / "site-packages"
    # The user's own packages are found by the home folder, which is another one in a job.
    users = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    parents = [path for path in (*users, *site.getsitepackages()) if Path(path).is_dir()]
    lines = [f"import site; site.addsitedir({path!r})\n" for path in parents]
    (packages / "emulator_parent.pth").write_text("".join(lines), encoding="utf-8")
    executables = folder.venv / "bin"
    python = shlex.quote(str(executables / "python3"))
    for name in ("pip", "pip3"):
        script = executables / name
        script.write_text(f'#!/bin/sh\nexec {python} -m pip "$@"\n', encoding="utf-8")
        script.chmod(0o755)
    return executables


def job_environment(
    job: TrainingJob,
    host: Host,
    folder: JobFolder,
    isolation: Isolation,
    executables: str,
    endpoint_url: str,
    ca_bundle: Path,
) -> dict[str, str]:
    """The whole environment of a job's program on ``host``.

    Args:
        executables: Folders that ``PATH`` begins with, separated by colons.
        endpoint_url: Of the emulator.
        ca_bundle: Whom to trust behind the emulator's proxy.
    """
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    if not environment.keys() & set(_HTTPS_PROXIES):
        # Scripts that insist on AWS's addresses must not get there. A network's own proxy stays in force: without
        # it jobs may be unable to install what they require.
        environment |= proxy_environment(endpoint_url, ca_bundle)
    environment |= pip_settings(os.environ)
    environment |= {
        "PATH": f"{executables}:{os.environ.get('PATH', _SYSTEM_PATH)}",
        "HOME": str(folder.work),
        "TMPDIR": str(folder.tmp),
        "HOSTNAME": host.name,
        "PYTHONUNBUFFERED": "1",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        "AWS_REGION": job.region,
        "AWS_DEFAULT_REGION": job.region,
        "AWS_ENDPOINT_URL": endpoint_url,
        **credentials(job.request["RoleArn"], job.region),
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    root = isolation.ml_root(folder)
    # The job's own variables may replace all others; these would be untrue.
    platforms = {"TRAINING_JOB_NAME": job.name, "TRAINING_JOB_ARN": job.arn}
    if root != ML_ROOT:
        # Without a private /etc/hosts the training toolkit would wait for the name algo-1 for 15 minutes.
        platforms |= {"CLOUDTUNE_ML_ROOT": root, "SAGEMAKER_BASE_DIR": root, "SM_STUDIO_LOCAL_MODE": "true"}
    own = {name: relocated(value, root) for name, value in job.request.get("Environment", {}).items()}
    return environment | own | platforms


def program_of(request: JsonObject, scripts: ScriptFolder) -> list[str] | None:
    """The job's command; None if there is nothing to run.

    Without an entrypoint the service runs ``train`` in the image: here the training toolkit's, or any other of
    that name that the emulator finds on its ``PATH``.
    """
    algorithm = request["AlgorithmSpecification"]
    entrypoint = algorithm.get("ContainerEntrypoint")
    if entrypoint is None:
        if shutil.which("train", path=f"{scripts.path}:{os.environ.get('PATH', _SYSTEM_PATH)}") is None:
            return None
        entrypoint = ["train"]
    return [*entrypoint, *algorithm.get("ContainerArguments", [])]


def pip_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """pip's settings, which a private home folder would hide."""
    found = {name: value for name, value in environment.items() if name.startswith("PIP_")}
    for name in ("PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_REQUIRE_VIRTUALENV"):
        found.pop(name, None)
    home = Path(environment.get("HOME", "/"))
    cache = Path(environment.get("XDG_CACHE_HOME") or home / ".cache")
    found.setdefault("PIP_CACHE_DIR", str(cache / "pip"))
    for file in (home / ".config" / "pip" / "pip.conf", home / ".pip" / "pip.conf"):
        if file.is_file():
            found.setdefault("PIP_CONFIG_FILE", str(file))
    return found


def relocated(text: str, root: str) -> str:
    """``text`` with the job's own folder for ``/opt/ml``."""
    return text if root == ML_ROOT else _ML_ROOT.sub(lambda _: root, text)


def relocate_drivers(folder: JobFolder, root: str) -> None:
    """Tells the drivers of SageMaker's SDK v3, which know no place but ``/opt/ml``, the job's own folder."""
    if root == ML_ROOT:
        return
    for path in sorted((folder.data / _DRIVERS).rglob("*")):
        if path.suffix in _DRIVER_TEXTS and path.is_file():
            text = path.read_bytes().decode("utf-8", errors="surrogateescape")
            path.write_bytes(relocated(text, root).encode("utf-8", errors="surrogateescape"))
