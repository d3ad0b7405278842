"""``cloudtune emulator``: arguments, variables for the shell, the one in the background; and who can reach it."""

from __future__ import annotations

import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from emulator_rig import Rig, eventually

from cloudtune.emulator import SageMakerEmulator, daemon_status, ensure_running, stop_daemon
from cloudtune.emulator.__main__ import main
from cloudtune.emulator.arguments import Action, chosen, parse
from cloudtune.emulator.daemon import clear_state
from cloudtune.emulator.settings import default_parallel_jobs
from cloudtune.errors import InvalidRequest, SpecError

PROG = "cloudtune emulator"
ROLE = "arn:aws:iam::123456789012:role/any"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("CLOUDTUNE_FOLDER", str(tmp_path))
    yield tmp_path
    clear_state()


def shell(script: str) -> subprocess.CompletedProcess[str]:
    """Runs a user's shell in which ``cloudtune`` is this one."""
    python = shlex.quote(sys.executable)
    prologue = f'cloudtune() {{ {python} -m cloudtune.cli "$@"; }}\n'
    return subprocess.run(["sh", "-c", prologue + script], capture_output=True, text=True, timeout=400)


@pytest.mark.parametrize(
    ("arguments", "action"),
    [
        ([], Action.start),
        (["start", "--port", "0"], Action.start),
        (["--watch"], Action.watch),
        (["watch", "4566"], Action.watch),
        (["--export"], Action.export),
        (["export", "4566", "--proxy"], Action.export),
        (["--background", "--seed", "3"], Action.background),
        (["status"], Action.status),
        (["--stop"], Action.stop),
    ],
)
def test_what_is_to_be_done(arguments: list[str], action: Action) -> None:
    assert parse(arguments, PROG).action is action


def test_what_differs_from_defaults() -> None:
    assert chosen(parse([], PROG)) == {}
    options = parse(["--scenario", "bad_day", "--time_scale", "60", "--max_parallel_jobs", "3"], PROG)
    assert chosen(options) == {"scenario": "bad_day", "time_scale": 60.0, "max_parallel_jobs": 3}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["strat"], "unknown action 'strat'.*Valid: start, background"),
        (["--prt", "1"], "Did you mean --port"),
        (["--port", "70000"], "70000 is no port"),
        (["--port", "x"], "invalid int value"),
        (["--max_parallel_jobs", "0"], "lets no job run"),
        (["--background", "--max_parallel_jobs", "0"], "lets no job run"),
        (["--isolation", "docker"], "invalid choice: 'docker'"),
        (["--time_scale", "0"], "time_scale=0.0 is out of range"),
        (["--stop_grace_s", "nan"], "out of range"),
        (["--scenario", "bad_dya"], "bad_day"),
        (["--idle_s", "0"], "--idle_s 0.0 is out of range"),
        (["--audit", "/dev/null/audit"], "audit log /dev/null/audit cannot be written"),
        (["--status", "--port", "1"], "--port is for an emulator that is started"),
        (["--watch", "--idle_s", "3"], "--idle_s is for an emulator that is started"),
        (["--stop", "--status"], "not allowed with"),
        (["--status", "--proxy"], "--status exports nothing"),
        (["--watch", "70000"], "70000 is no port"),
        (["--export", "-4"], "-4"),
    ],
)
def test_what_makes_no_sense_is_refused_at_the_door(
    arguments: list[str], message: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments, PROG) == 2
    said = capsys.readouterr()
    assert re.search(f"(?s)^error: .*{message}", said.err), said.err
    assert said.out == ""
    assert daemon_status() is None


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"], PROG)
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for part in (
        'eval "$(cloudtune emulator --background)"',
        "--scenario bad_day --seed 3",
        "exit codes: 0",
        "--audit",
    ):
        assert part in text
    assert max(map(len, text.splitlines())) <= 120


def test_a_shell_uses_the_one_in_the_background(root: Path) -> None:
    script = """
    eval "$(cloudtune emulator --background --scenario realistic --time_scale 600)"
    echo "$AWS_ENDPOINT_URL $AWS_REGION"
    ENDPOINT=$AWS_ENDPOINT_URL; AWS_ENDPOINT_URL=; AWS_REGION=
    eval "$(cloudtune emulator export --proxy)"
    test "$AWS_ENDPOINT_URL" = "$ENDPOINT" && test -s "$AWS_CA_BUNDLE" && echo "$HTTPS_PROXY"
    eval "$(cloudtune emulator --export "${ENDPOINT##*:}")" && echo "port $AWS_REGION"
    cloudtune emulator --background --scenario realistic >/dev/null && echo same
    cloudtune emulator --background --scenario calm --time_scale 7 >/dev/null
    cloudtune emulator status
    cloudtune emulator stop
    cloudtune emulator --export; echo "code $?"
    """
    done = shell(script)
    out = done.stdout
    url = re.search(r"(http://127\.0\.0\.1:\d+) us-east-1", out)
    assert url is not None, done.stderr
    for part in (f"{url[1]}\nport us-east-1", "same\n", f"endpoint_url: {url[1]}", "Ended the emulator", "code 3"):
        assert part in out, done.stderr
    assert "was not started with time_scale=7.0" in done.stderr
    assert "# " not in out, "an interactive zsh takes comments for commands"


def test_files_are_found_from_the_daemons_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "mean.json").write_text('{"schema": 1, "name": "mean", "faults": []}')
    monkeypatch.chdir(root)
    assert main(["--background", "--scenario", "mean.json", "--audit", "log.jsonl"], PROG) == 0
    assert ensure_running(options={"scenario": root / "mean.json"}).live()["scenario"] == "mean"
    assert '"event": "start"' in (root / "log.jsonl").read_text(encoding="utf-8")


def test_jobs_at_once_are_raised_where_one_runs_already(root: Path) -> None:
    handle = ensure_running()
    assert handle.health()["max_parallel_jobs"] == default_parallel_jobs()
    rig = Rig(handle.endpoint_url, handle.role_arn)
    listening = "signal.signal(15, lambda *_: sys.exit())\nsignal.pause()"
    number = default_parallel_jobs() + 1
    for index in range(number):
        rig.submit(f"parallel-{index}", listening)
    eventually(lambda: handle.live()["job_counts"]["running"] == number - 1, "all but one run")
    assert rig.describe(f"parallel-{number - 1}")["SecondaryStatus"] == "Starting"
    assert ensure_running(max_parallel_jobs=number) == handle
    rig.reached(f"parallel-{number - 1}", "Training")
    assert ensure_running(max_parallel_jobs=1).health()["max_parallel_jobs"] == number, "never lowered"
    for wrong in (0, -1):
        with pytest.raises(SpecError, match="lets no job run"):
            ensure_running(max_parallel_jobs=wrong)
    with pytest.raises(InvalidRequest, match="from 1 to"):
        handle.allow_parallel_jobs(10**9)
    stop_daemon()


def test_a_new_one_begins_with_the_jobs_at_once_that_are_asked_for(root: Path) -> None:
    assert ensure_running(max_parallel_jobs=7).health()["max_parallel_jobs"] == 7


def test_without_a_terminal_lines_that_a_shell_can_read(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "cloudtune.emulator", "--isolation", "none"], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        lines = []
        while not lines or not lines[-1].startswith("# jobs"):
            lines.append(server.stdout.readline())
        assert [line for line in lines if not line.startswith("export ")] == lines[-2:]
        exported = dict(
            line.removeprefix("export ").split("=", 1) for line in shlex.split("\n".join(lines[:-2]))[1::2]
        )
        rig = Rig(exported["AWS_ENDPOINT_URL"], ROLE)
        found = rig.run("plain", "print('ROOT is', ROOT, flush=True)")
        assert found["TrainingJobStatus"] == "Completed"
        while "job plain Completed" not in lines[-1]:
            lines.append(server.stdout.readline())
            assert lines[-1].startswith("# "), lines[-1]
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=60) == 0


def test_nobody_has_to_read_its_lines(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "cloudtune.emulator"], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip().partition("=")[2]
        server.stdout.close()
        Rig(url, ROLE).run("unread", "")
        Rig(url, ROLE).run("unread-too", "")
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 0


def test_ctrl_c_while_it_says_where_it_is() -> None:
    for _ in range(3):
        command = [sys.executable, "-u", "-m", "cloudtune.emulator"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None and server.stderr is not None
            server.stdout.readline()
            server.send_signal(signal.SIGINT)
            assert server.wait(timeout=60) == 0
            assert "Traceback" not in server.stderr.read()


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads Linux's table of sockets")
@pytest.mark.parametrize("isolation", ["auto", "none"])
def test_it_listens_on_one_address_alone(isolation: str) -> None:
    with SageMakerEmulator(isolation=isolation) as aws:
        listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        hexed = f":{aws.port:04X}"
        assert [fields[1] for fields in listening if fields[1].endswith(hexed) and fields[3] == "0A"] == [
            f"0100007F{hexed}"
        ]
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.2", aws.port), timeout=10)


def test_jobs_run_without_namespaces(tmp_path: Path) -> None:
    with SageMakerEmulator(isolation="none") as aws:
        assert aws.health()["isolation"] == "none"
        rig = Rig(aws.endpoint_url, aws.role_arn)
        found = rig.run("relocated", "open(ROOT + '/model/x', 'w').write('1'); print('at', ROOT)")
        assert found["TrainingJobStatus"] == "Completed"
        assert any(line.startswith("at ") and line != "at /opt/ml" for line in rig.all_logs("relocated"))
