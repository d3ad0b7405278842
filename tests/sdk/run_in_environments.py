"""Runs the tests marked ``sdk`` in two environments, with version 2 and with version 3 of the SageMaker SDK.

The two exclude each other. The environments (about 1 and 2 GB, made in one and three minutes) are kept in a cache
folder, and brought up to date when what they are to hold changes::

    python tests/sdk/run_in_environments.py             # both
    python tests/sdk/run_in_environments.py --only v2 -k images
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_READY = ".ready"
_INSTALL_TIMEOUT_S = 1800
# The SDKs' requirements contradict requirements/ci.txt: of the rest, what is current is taken.
ENVIRONMENTS = {
    # The training toolkit has no wheel: it needs a C compiler.
    "v2": [".[sagemaker2,emulator,test]", "sagemaker==2.257.7", "sagemaker-training==5.1.4"],
    "v3": [".[sagemaker3,emulator,test]", "sagemaker==3.27.0"],
}


def environment(name: str, folder: Path) -> Path:
    """The interpreter of the environment; what is missing there is installed."""
    digest = hashlib.sha256()
    for part in (sys.version, (ROOT / "pyproject.toml").read_text(), *ENVIRONMENTS[name]):
        digest.update(part.encode())
    target = folder / name
    python = target / "bin" / "python"
    ready = target / _READY
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if ready.is_file() and ready.read_text() == digest.hexdigest():
            return python
        print(f"installing {' '.join(ENVIRONMENTS[name][1:])} in {target}", flush=True)
        make = [sys.executable, "-m", "venv", str(target)]
        subprocess.run(make, check=True, timeout=_INSTALL_TIMEOUT_S)
        install = [str(python), "-m", "pip", "install", "--quiet", "--editable", *ENVIRONMENTS[name]]
        subprocess.run(install, cwd=ROOT, check=True, timeout=_INSTALL_TIMEOUT_S)
        ready.write_text(digest.hexdigest())
    return python


def main() -> int:
    """Returns 0 if the tests of all environments pass."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser = argparse.ArgumentParser(
        description="Run the tests marked sdk with both SageMaker SDKs. Further arguments go to pytest."
    )
    parser.add_argument("--folder", type=Path, default=cache / "cloudtune-sdk", help="where environments are kept")
    parser.add_argument("--only", choices=sorted(ENVIRONMENTS), help="one environment alone")
    options, for_pytest = parser.parse_known_args()
    codes = {}
    for name in [options.only] if options.only else sorted(ENVIRONMENTS):
        python = environment(name, options.folder.absolute())
        print(f"== SageMaker SDK {name}", flush=True)
        command = [str(python), "-m", "pytest", "-m", "sdk", "-rs", "--durations=5", "tests/sdk"]
        command += [f"--ignore-glob=*/test_sdk_{other}*" for other in ENVIRONMENTS if other != name]
        # The environment may have been made by another checkout of the package.
        variables = {**os.environ, "CLOUDTUNE_SDK": name, "PYTHONPATH": str(ROOT)}
        codes[name] = subprocess.run([*command, *for_pytest], cwd=ROOT, env=variables, check=False).returncode
    for name, code in codes.items():
        print(f"{name}: {'passed' if code == 0 else f'FAILED (pytest exit code {code})'}")
    return max(codes.values())


if __name__ == "__main__":
    sys.exit(main())
