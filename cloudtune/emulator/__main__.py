"""``python -m cloudtune.emulator``: serves until Ctrl-C."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from cloudtune import emulator as package
from cloudtune.emulator import daemon
from cloudtune.emulator.faults.killing import restart_process
from cloudtune.emulator.isolation import CHOICES
from cloudtune.errors import CloudtuneError


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="python -m cloudtune.emulator", description="AWS for rehearsals: training jobs run on this machine."
    )
    found.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one (default)")
    found.add_argument("--state", metavar="DIR", help="folder for the files of running jobs (default: temporary)")
    found.add_argument("--max_parallel_jobs", type=int, help="jobs that run at once (default: half of the cores)")
    found.add_argument("--isolation", choices=CHOICES, default="auto", help="how jobs get a private /opt/ml")
    found.add_argument("--stop_grace_s", type=float, default=120.0, help="seconds from SIGTERM to SIGKILL")
    found.add_argument("--time_scale", type=float, default=1.0, help="speed of the service's limits and waits")
    found.add_argument("--proxy", action="store_true", help="for clients that insist on AWS addresses: SDKs")
    found.add_argument(
        "--scenario", default="calm", help="what goes wrong: calm (default), realistic, bad_day, or a JSON file"
    )
    found.add_argument("--seed", type=int, default=0, help="of the scenario's draws")
    found.add_argument("--idle_s", type=float, help="end after so many seconds without a request or a job")
    found.add_argument(
        "--status", action="store_true", help="show the emulator that runs in the background, if any"
    )
    found.add_argument("--stop", action="store_true", help="end the emulator that runs in the background")
    found.add_argument("--record", type=Path, help=argparse.SUPPRESS)  # of the daemon
    found.add_argument("--ready_fd", type=int, help=argparse.SUPPRESS)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("botocore").setLevel(logging.WARNING)
    try:
        if options.status or options.stop:
            return _background(stop=options.stop)
        return _serve(options, sys.argv[1:] if arguments is None else arguments)
    except CloudtuneError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _background(stop: bool) -> int:
    status = daemon.daemon_status()
    if status is None:
        print("No emulator runs in the background.")
        return 0 if stop else 3
    if stop:
        daemon.stop_daemon()
        print(f"Ended the emulator at {status['endpoint_url']}.")
    else:
        for name, value in status.items():
            print(f"{name}: {value}")
    return 0


def _serve(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    emulator = package.SageMakerEmulator(
        port=options.port,
        state_dir=options.state,
        max_parallel_jobs=options.max_parallel_jobs,
        isolation=options.isolation,
        stop_grace_s=options.stop_grace_s,
        time_scale=options.time_scale,
        scenario=options.scenario,
        seed=options.seed,
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    emulator.restart = lambda: restart_process(arguments, emulator.port)
    with emulator:
        _announce(emulator, options)
        try:
            while not emulator.wait_closed(_until_idle(emulator, options.idle_s)):
                if options.idle_s is not None and emulator.idle_seconds() >= options.idle_s:
                    break
        except KeyboardInterrupt:
            print("ending", file=sys.stderr)
        finally:
            if options.record is not None:
                daemon.forget(options.record)
    return 0


def _until_idle(emulator: package.SageMakerEmulator, idle_s: float | None) -> float:
    """Seconds until the emulator could be idle for long enough."""
    return 3600.0 if idle_s is None else max(0.05, idle_s - emulator.idle_seconds())


def _announce(emulator: package.SageMakerEmulator, options: argparse.Namespace) -> None:
    if options.record is not None:
        daemon.write_record(options.record, emulator.endpoint_url)
    if options.ready_fd is not None:
        os.write(options.ready_fd, b".")
        os.close(options.ready_fd)
    for name, value in emulator.environment(options.proxy).items():
        print(f"export {name}={shlex.quote(value)}")
    print(f"# role: {emulator.role_arn}")
    print(f"# jobs: isolation {emulator.isolation!r}; Ctrl-C ends the emulator and all its jobs", flush=True)


if __name__ == "__main__":
    sys.exit(main())
