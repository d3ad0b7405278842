"""What RemoteLauncher's job runs: the tuner that was shipped, at home in the job."""

from __future__ import annotations

import argparse
import logging
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # run by path: the folder of this file must not shadow installed packages
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from cloudtune.errors import CloudtuneError, SnapshotError
from cloudtune.remote import in_job
from cloudtune.remote import job_layout as layout
from cloudtune.remote.tuner_package import as_code
from cloudtune.remote.tuning_metrics import TuningMetrics
from cloudtune.script_args import parse_bool
from cloudtune.snapshot import load_snapshot
from cloudtune.tuner import Tuner


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log_level", type=int, default=logging.INFO)
    parser.add_argument("--no_tuner_logging", type=parse_bool, default=False)
    parser.add_argument("--publish_tuning_metrics", type=parse_bool, default=True)
    options = parser.parse_args(argv)
    logging.basicConfig(
        format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING, force=True
    )
    logging.getLogger("cloudtune").setLevel(logging.ERROR if options.no_tuner_logging else options.log_level)
    try:
        _run(options)
    except CloudtuneError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _run(options: argparse.Namespace) -> None:
    code = layout.code_folder()
    # Modules beside the script, and files that it opens by relative names, are where they were.
    sys.path.append(str(code / layout.SCRIPT_FOLDER))
    os.chdir(code / layout.SCRIPT_FOLDER)
    tuner = _load(code / layout.TUNER_SNAPSHOT)
    as_code(tuner).move_code(code / layout.SCRIPT_FOLDER, packages=code)
    if options.publish_tuning_metrics:
        tuner.callbacks.append(TuningMetrics())
    if options.no_tuner_logging:
        tuner.print_update_interval = math.inf
    in_job.settle(tuner).run()


def _load(path: Path) -> Tuner:
    """Asked for by whoever launched the job: this is what RemoteLauncher means."""
    try:
        tuner = load_snapshot(path)
    except SnapshotError as error:
        raise SnapshotError(
            error.message,
            "Launch from the Python that the image has, or pass image_uri of an image with yours. Pass modules "
            "that the tuner needs as dependencies; list packages in a requirements.txt beside them (or beside the "
            "script, unless trials have jobs of their own).",
        ) from error
    if not isinstance(tuner, Tuner):
        raise SnapshotError(f"{path} holds a {type(tuner).__name__}, no Tuner.")
    return tuner


if __name__ == "__main__":
    sys.exit(main())
