"""Bad input: each time a message that says where, what and what to do, an exit code, and nothing started."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from launcher_helpers import ENTRY_POINT, REPOSITORY, ROLE, benchmark_of, write_script

from cloudtune.experiments.benchmark_definitions import real_benchmark_definitions
from cloudtune.experiments.default_baselines import methods
from cloudtune.experiments.launchers.hpo_main_local import main
from cloudtune.experiments.launchers.launch_remote_local import launch_remote

KEYS = {"AWS_ACCESS_KEY_ID": "AKIAWRONG", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
_IDENTITY = b"""<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<GetCallerIdentityResult><Arn>arn:aws:iam::123456789012:user/me</Arn><UserId>U</UserId>
<Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"""
_REFUSED = b"""<ErrorResponse><Error><Type>Sender</Type><Code>InvalidClientTokenId</Code>
<Message>The security token included in the request is invalid.</Message></Error></ErrorResponse>"""


class StrictAws(ThreadingHTTPServer):
    """Knows one user; owns no bucket. ``requests`` are those that would change something."""

    def __init__(self, knows_user: bool) -> None:
        super().__init__(("127.0.0.1", 0), _StrictHandler)
        self.knows_user = knows_user
        self.requests: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _StrictHandler(BaseHTTPRequestHandler):
    server: StrictAws

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if b"GetCallerIdentity" not in body:
            self.server.requests.append(self.headers.get("X-Amz-Target", self.path))
        self._answer(*((200, _IDENTITY) if self.server.knows_user else (403, _REFUSED)))

    def do_HEAD(self) -> None:
        self._answer(403, b"")

    def do_PUT(self) -> None:
        self.server.requests.append(f"PUT {self.path}")
        self._answer(403, b"")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Silent."""


@pytest.fixture
def strict_aws(request: pytest.FixtureRequest) -> Iterator[StrictAws]:
    server = StrictAws(knows_user=getattr(request, "param", True))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def launch(argv: Sequence[str], definitions: Any = real_benchmark_definitions) -> int:
    return launch_remote(ENTRY_POINT, methods, definitions, argv=list(argv))


BAD_ARGUMENTS = [
    (["--method", "RSS"], 2, ["--method RSS", "Did you mean RS?", "RS, ASHA, ASHA-PROM"]),
    (["--method", "asha"], 2, ["--method asha", "Did you mean ASHA?"]),
    (["--method", " "], 2, ["--method: it is empty; is a variable not set?"]),
    (["--estimator_fit_backoff_wait_time", "0"], 2, ["waits for its quota by itself"]),
    (["--remote_tuning_metrics=1"], 2, ["--remote_tuning_metrics=1", "Leave it out"]),
    (["--benchmark", "mlp"], 2, ["--benchmark mlp", "Did you mean mlp_digits?", "train_height"]),
    (["--metod", "RS"], 2, ["--metod", "Did you mean --method?", "--help"]),
    (["--num_seed", "3"], 2, ["--num_seed", "Did you mean --num_seeds?"]),
    (["extra"], 2, ["extra", "--help"]),
    (["--experiment_tag", "my_study 1"], 2, ["--experiment_tag 'my_study 1'", "my-study-1"]),
    (["--experiment_tag", ""], 2, ["--experiment_tag: it is empty"]),
    (["--experiment_tag", "a" * 41], 2, ["1 to 40", "Legal would be"]),
    (["--num_seeds", "0"], 2, ["--num_seeds", "0 is less than 1"]),
    (["--num_seeds", "many"], 2, ["'many' is not an integer"]),
    (["--start_seed", "2", "--num_seeds", "2"], 2, ["leaves no seed", "start_seed, ..., num_seeds - 1"]),
    (["--n_workers", "-1"], 2, ["--n_workers", "less than 1"]),
    (["--max_wallclock_time", "inf"], 2, ["--max_wallclock_time", "not positive"]),
    (["--max_wallclock_time", "nan"], 2, ["--max_wallclock_time"]),
    (["--save_tuner", "maybe"], 2, ["'maybe' is no boolean", "yes"]),
]
BAD_LAUNCHES = [
    (["--interrupt_after", "3"], 2, ["--interrupt_after needs --spot", "Add --spot"]),
    (["--spot", "--interrupt_after", "15"], 2, ["would interrupt nothing", "15 s"]),
    (["--max_run", "15"], 2, ["--max_run 15 would end each job before it has tuned for 15 s"]),
    (["--bucket", ""], 2, ["--bucket: it is empty"]),
    (
        ["--experiment_tag", "t", "--instance_type", "g4dn.xlarge"],
        2,
        ["InstanceType", "ml.g4dn.xlarge"],
    ),  # before anything is started
    (["--wait", "--no_wait"], 2, ["not allowed with"]),
    (["--dry_run", "--instance_type", "c5.xlarge"], 2, ["InstanceType", "ml.c5.xlarge"]),
    (["--dry_run", "--role", "admin/x"], 2, ["RoleArn", "admin/x"]),
    (["--dry_run", "--bucket", "No_Bucket"], 2, ["No_Bucket"]),
]


@pytest.mark.parametrize(("argv", "code", "words"), [*BAD_ARGUMENTS, *BAD_LAUNCHES])
def test_launch_remote(
    argv: list[str], code: int, words: list[str], capsys: pytest.CaptureFixture[str], own_folder: Path
) -> None:
    assert launch(argv) == code
    _check(capsys.readouterr().err, words)
    assert not own_folder.exists()  # not even an emulator


@pytest.mark.parametrize(("argv", "code", "words"), BAD_ARGUMENTS)
def test_hpo_main(
    argv: list[str], code: int, words: list[str], capsys: pytest.CaptureFixture[str], own_folder: Path
) -> None:
    assert main(methods, real_benchmark_definitions, argv=argv) == code
    _check(capsys.readouterr().err, words)
    assert not own_folder.exists()


def _check(text: str, words: Sequence[str]) -> None:
    assert text.startswith("error: ") and "/launchers/" not in text  # no traceback of ours
    for word in words:
        assert word in text, text


@pytest.mark.parametrize("script", ["launchers/launch_remote.py", "entry_points/hpo_main.py"])
def test_the_real_commands(script: str, own_folder: Path) -> None:
    command = [sys.executable, str(REPOSITORY / script), "--methd", "RS"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stdout == ""
    _check(done.stderr, [Path(script).name, "Did you mean --method?"])
    assert not own_folder.exists()


@pytest.mark.parametrize("command", ["launch", "main"])
@pytest.mark.parametrize("folder", ["file", "file/below", "/proc/nobody-writes-here"])
def test_a_folder_that_cannot_be_written_to(
    command: str,
    folder: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CLOUDTUNE_FOLDER", str(tmp_path / folder))
    for tag in ([], ["--experiment_tag", "t"]):
        code = launch(tag) if command == "launch" else main(methods, real_benchmark_definitions, argv=tag)
        assert code == 5
        _check(capsys.readouterr().err, [str(tmp_path / folder), "cannot be written to", "Set CLOUDTUNE_FOLDER"])


def test_a_missing_script(tmp_path: Path, capsys: pytest.CaptureFixture[str], own_folder: Path) -> None:
    definitions = benchmark_of(tmp_path / "missing.py")
    assert launch([], lambda: definitions) == 2
    _check(capsys.readouterr().err, ["Benchmark mine", str(tmp_path / "missing.py"), "Correct"])
    assert main(methods, lambda: definitions, argv=[]) == 2
    _check(capsys.readouterr().err, ["missing.py"])
    assert launch_remote(tmp_path / "no_main.py", methods, real_benchmark_definitions, argv=["--dry_run"]) == 2
    _check(capsys.readouterr().err, ["no entry point", "no_main.py"])
    assert not own_folder.exists()


BAD_SCRIPTS = [
    ("print('nothing to report')", 6, ["without a single report", "Reporter()"]),
    ("report(epoch=1, los=0.5)", 6, ["without 'loss'", "los", "name another metric"]),
    ("import no_such_package", 6, ["No module named 'no_such_package'", "cloudtune logs"]),
    ("raise SystemExit('no data')", 6, ["exit code 1", "no data"]),
]


@pytest.mark.parametrize(("body", "code", "words"), BAD_SCRIPTS)
def test_bad_scripts(
    body: str, code: int, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    definitions = benchmark_of(write_script(tmp_path / "bad", body))
    argv = ["--method", "RS", "--max_failures", "0"]
    assert main(methods, lambda: definitions, argv=argv) == code
    err = capsys.readouterr().err
    _check(err[err.index("error: ") :], words)


def test_without_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n"
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "torch.py").write_text(missing)
    path = os.pathsep.join(filter(None, (str(tmp_path / "without"), os.environ.get("PYTHONPATH"))))
    monkeypatch.setenv("PYTHONPATH", path)
    argv = ["--method", "RS", "--max_failures", "0", "--max_wallclock_time", "30"]
    assert main(methods, real_benchmark_definitions, argv=argv) == 6
    assert "No module named 'torch'" in capsys.readouterr().err


def test_without_the_emulators_packages(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "moto", None)
    assert launch([]) == 2
    first, _, rest = capsys.readouterr().err.partition("\n")
    assert first == "Starting the emulator ..."
    _check(rest, ["moto", "pip install 'cloudtune[emulator]'"])


def _use(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": url}.items():
        monkeypatch.setenv(name, value)


def test_a_dead_endpoint(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _use(monkeypatch, "http://127.0.0.1:9")  # nobody serves the discard protocol any more
    assert launch(["--yes"]) == 7
    _check(capsys.readouterr().err, ["http://127.0.0.1:9", "AWS_ENDPOINT_URL"])


@pytest.mark.parametrize("strict_aws", [False], indirect=True)
def test_wrong_credentials(
    strict_aws: StrictAws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _use(monkeypatch, strict_aws.url)
    assert launch(["--yes"]) == 7
    _check(capsys.readouterr().err, ["InvalidClientTokenId", "aws sts get-caller-identity"])
    assert strict_aws.requests == []


def test_a_bucket_that_is_not_ours(
    strict_aws: StrictAws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], own_folder: Path
) -> None:
    _use(monkeypatch, strict_aws.url)
    for arguments in (["--bucket", "somebody-elses"], []):
        assert launch(["--yes", "--role", ROLE, *arguments]) == 7
        text = capsys.readouterr().err
        _check(text[text.index("error: ") :], [*arguments[1:], "is not ours", "Name a bucket of your own account"])
    assert strict_aws.requests == []
    assert not list((own_folder / ".studies").glob("*.json"))  # nothing was begun, nothing is continued


def test_money_is_spent_with_a_yes_only(
    strict_aws: StrictAws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _use(monkeypatch, strict_aws.url)
    assert launch(["--interrupt_after", "1", "--spot"]) == 2
    assert "emulator only" in capsys.readouterr().err
    assert strict_aws.requests == []
