"""``cloudtune emulator``, also ``python -m cloudtune.emulator``: serves, or looks after the one in background."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TextIO

from cloudtune import emulator as package
from cloudtune.emulator import daemon
from cloudtune.emulator.arguments import Action, chosen, parse
from cloudtune.emulator.faults.killing import restart_process
from cloudtune.emulator.screen.displays import Display, PlainLines, Silence, is_terminal, terminal_display, watch
from cloudtune.emulator.state.state_folder import size_bytes
from cloudtune.errors import CloudtuneError

_NONE_THERE = 3


def main(arguments: Sequence[str] | None = None, prog: str = "python -m cloudtune.emulator") -> int:
    """Returns the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    actions: dict[Action, Callable[[argparse.Namespace], int]] = {
        Action.start: lambda options: _serve(options, given),
        Action.background: _background,
        Action.export: _export,
        Action.watch: _watch,
        Action.status: _status,
        Action.stop: _stop,
        Action.clear: _clear,
    }
    try:
        options = parse(given, prog)
        return actions[options.action](options)
    except CloudtuneError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _background(options: argparse.Namespace) -> int:
    wanted = chosen(options)
    at_once = wanted.pop("max_parallel_jobs", None)
    for name in ("state", "audit", "scenario"):
        if name in wanted and (name != "scenario" or Path(str(wanted[name])).is_file()):
            wanted[name] = Path(str(wanted[name])).absolute()  # the daemon has a working directory of its own
    idle = {} if options.idle_s is None else {"idle_s": options.idle_s}
    handle = daemon.ensure_running(
        max_parallel_jobs=at_once if isinstance(at_once, int) else None, options=wanted, **idle
    )
    _print_exports(handle, options.proxy)
    print(f"The emulator runs at {handle.endpoint_url}, with the role {handle.role_arn}.", file=sys.stderr)
    return 0


def _export(options: argparse.Namespace) -> int:
    handle = _chosen(options.export, sys.stderr)
    if handle is None:
        return _NONE_THERE
    _print_exports(handle, options.proxy)
    return 0


def _watch(options: argparse.Namespace) -> int:
    handle = _chosen(options.watch, sys.stderr)
    if handle is None:
        return _NONE_THERE
    try:
        watch(handle)
    except KeyboardInterrupt:
        print(f"The emulator at {handle.endpoint_url} runs on.", file=sys.stderr)
    return 0


def _status(options: argparse.Namespace) -> int:
    del options
    handle = _chosen(0, sys.stdout)
    facts = {} if handle is None else handle.health()
    for name, value in facts.items():
        print(f"{name}: {value}")
    kept = Path(facts.get("state") or daemon.state_path())
    if kept.exists():
        print(f"kept: {size_bytes(kept) / 1e6:.1f} MB in {kept}")
    return _NONE_THERE if handle is None else 0


def _stop(options: argparse.Namespace) -> int:
    del options
    handle = _chosen(0, sys.stdout)
    if handle is not None:
        daemon.stop_daemon()
        print(f"Ended the emulator at {handle.endpoint_url}.")
    return 0


def _clear(options: argparse.Namespace) -> int:
    del options
    daemon.clear_state()
    print(f"Nothing is kept in {daemon.state_path()} any more.")
    return 0


def _chosen(port: int, output: TextIO) -> package.EmulatorHandle | None:
    """The emulator at ``port``, which must be there; for 0 the one in the background, if any."""
    if port:
        return daemon.serving_at(port)
    handle = daemon.running_daemon()
    if handle is None:
        print("No emulator runs in the background.", file=output)
    return handle


def _print_exports(emulator: package.EmulatorHandle | package.SageMakerEmulator, proxy: bool) -> None:
    for name, value in emulator.environment(proxy).items():
        print(f"export {name}={shlex.quote(value)}")


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
    if options.audit is not None:
        emulator.audit.write_to(options.audit)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("botocore").setLevel(logging.WARNING)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    emulator.restart = lambda: restart_process(arguments, emulator.port)
    try:
        with emulator:
            try:
                _announce(emulator, options)
                _attend(emulator, options)
            except KeyboardInterrupt:
                print("ending", file=sys.stderr)
            finally:
                if options.record is not None:
                    daemon.forget(options.record)
    except KeyboardInterrupt:  # while it started, or once more while it ended
        print("ended", file=sys.stderr)
    return 0


def _announce(emulator: package.SageMakerEmulator, options: argparse.Namespace) -> None:
    if options.record is not None:
        daemon.write_record(options.record, emulator.endpoint_url, chosen(options))
    if options.ready_fd is not None:
        os.write(options.ready_fd, b".")
        os.close(options.ready_fd)
    with suppress(BrokenPipeError):  # nobody has to read its lines
        _print_exports(emulator, options.proxy)
        print(f"# role: {emulator.role_arn}")
        if options.state is not None:
            print(f"# kept in {options.state}")
        print(f"# jobs: isolation {emulator.isolation!r}; Ctrl-C ends the emulator and all its jobs", flush=True)


def _attend(emulator: package.SageMakerEmulator, options: argparse.Namespace) -> None:
    """Shows what happens until the emulator is closed, or idle for long enough."""
    with closing(_display(emulator, options)) as display:
        while options.idle_s is None or emulator.idle_seconds() < options.idle_s:
            display.update()
            if emulator.wait_closed(min(display.interval_s, _until_idle(emulator, options.idle_s))):
                return


def _display(emulator: package.SageMakerEmulator, options: argparse.Namespace) -> Display:
    if options.record is not None:
        return Silence()
    return terminal_display(emulator.live) if is_terminal() else PlainLines(emulator.live)


def _until_idle(emulator: package.SageMakerEmulator, idle_s: float | None) -> float:
    """Seconds until the emulator could be idle for long enough."""
    return 3600.0 if idle_s is None else max(0.05, idle_s - emulator.idle_seconds())


if __name__ == "__main__":
    sys.exit(main())
