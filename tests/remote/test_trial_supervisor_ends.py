"""How a trial's job ends: failures, signals, what the script leaves behind, and S3 that does not answer."""

from __future__ import annotations

import socket
from pathlib import Path

from remote_rig import eventually, processes_of
from trial_rig import TRAIN, TrialJob, metrics, records

from cloudtune.aws.objects import S3Objects


def test_a_failure_says_why(trial_job: TrialJob, objects: S3Objects) -> None:
    trial_job.script(
        """
        import sys
        from cloudtune import Reporter
        Reporter()(loss=float("nan"))
        sys.exit("x" * 3000 + " the réason")
        """
    )
    code, _, errors = trial_job.run()
    assert code == 1
    assert errors.count("the réason") == 1, "the log has it once"
    found = records(objects, trial_job.reports)
    end = found[-1]
    assert (end["exit_code"], end["count"], end["stopped"]) == (1, 1, False)
    assert end["tail"].strip().endswith("x the réason")
    assert len(end["tail"]) == 2000
    assert trial_job.failure is not None
    assert trial_job.failure.startswith("exit code 1\nxxx")
    assert trial_job.failure.endswith("the réason")
    assert len(trial_job.failure) <= 960


def test_death_by_a_signal(trial_job: TrialJob, objects: S3Objects) -> None:
    """The report in a line without newline counts."""
    trial_job.script(
        """
        import os, signal
        os.write(1, b'10% [tune-metric]: {"loss": 1}')
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    assert trial_job.run()[0] == 137
    found = records(objects, trial_job.reports)
    assert [record["kind"] for record in found] == ["hello", "report", "end"]
    assert found[-1]["exit_code"] == 137
    assert trial_job.failure is not None
    assert "exit code 137 (SIGKILL)" in trial_job.failure
    assert "memory ran out" in trial_job.failure


def test_sigterm_lets_the_script_end_its_way(trial_job: TrialJob, objects: S3Objects) -> None:
    trial_job.script(
        """
        import signal, sys
        from cloudtune import Reporter
        report = Reporter()
        def end(*_):
            report(loss=2)
            print("my last words", file=sys.stderr)
            sys.exit(0)
        signal.signal(signal.SIGTERM, end)
        report(loss=1)
        signal.pause()
        """
    )
    process = trial_job.start()
    eventually(lambda: len(metrics(records(objects, trial_job.reports))) == 1, "while it runs")
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 0
    found = records(objects, trial_job.reports)
    assert [report["loss"] for report in metrics(found)] == [1, 2]
    assert found[-1] == {"kind": "end", "exit_code": 0, "count": 2, "tail": "my last words\n", "stopped": True}
    assert trial_job.failure is None, "it was asked to end"


FAMILY = """
import os, signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
deaf = "import os, signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.setpgid(0, 0); "
# in one write each: two of them share the pipe
deaf += "os.write(1, b'child' + bytes([10])); signal.pause()"
listener = deaf.replace("signal.SIG_IGN", "lambda *_: (os.write(1, b'told' + bytes([10])), os._exit(0))")
for text in (deaf, listener):
    subprocess.Popen(["sh", "-c", f'{sys.executable} -c "$0" & wait', text])
"""


def test_a_stubborn_family_is_killed(trial_job: TrialJob, objects: S3Objects) -> None:
    """Grandchildren in groups of their own are told, and do not survive the grace period."""
    trial_job.script(FAMILY + "while True: signal.pause()\n")
    process = trial_job.start(hurry_s=5.0)
    assert process.stdout is not None
    assert [process.stdout.readline(), process.stdout.readline()] == [b"child\n", b"child\n"]
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert b"told\n" in output
    assert process.returncode == 137
    eventually(lambda: not processes_of(trial_job.root), "nothing of it is left")
    end = records(objects, trial_job.reports)[-1]
    assert (end["exit_code"], end["stopped"]) == (137, True)


def test_what_the_script_leaves_behind_ends_with_it(trial_job: TrialJob) -> None:
    trial_job.script(FAMILY + "assert sys.stdin.read() == ''\nprint('done', flush=True)")
    code, output, _ = trial_job.run()
    assert code == 0
    assert b"done" in output
    eventually(lambda: not processes_of(trial_job.root), "nothing of it is left")


def test_output_passes_whole_and_at_once(trial_job: TrialJob, objects: S3Objects) -> None:
    trial_job.script(
        r"""
        import os, signal
        def write(data):
            while data:
                data = data[os.write(1, data):]
        write(b"50%\r")
        open(os.environ["GATE"] + "/1").read()
        write(b'[tune-metric]: {"n": 1}\n')
        write(bytes(range(256)) * 400 + b"\n")
        write(b"y" * 3_000_000)
        write(b'\n\xff\xfe 99%|##| 2/2[tune-metric]: {"n": 2}\nlast')
        """
    )
    gate = trial_job.gate(1)
    process = trial_job.start()
    assert process.stdout is not None
    assert process.stdout.read(4) == b"50%\r", "no line has ended, and yet it is there"
    gate.write_text("go on")
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert output.startswith(b'[tune-metric]: {"n": 1}\n' + bytes(range(256)))
    assert output.endswith(b"\nlast")
    assert output.count(b"y" * 3_000_000) == 1
    assert output.count(bytes(range(256))) == 400
    assert [report["n"] for report in metrics(records(objects, trial_job.reports))] == [1, 2]


def test_without_permission_the_log_is_enough(trial_job: TrialJob, objects: S3Objects) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del trial_job.environment[name]
    trial_job.environment["HOME"] = str(trial_job.root)
    trial_job.script(TRAIN)
    trial_job.hyperparameters(num_levels=3)
    code, output, errors = trial_job.run()
    assert code == 0
    assert output.count(b"[tune-metric]") == 3
    assert errors.count("S3 does not take the reports") == 1
    assert list(objects.list(trial_job.reports)) == []


def test_without_boto3_the_log_is_enough(trial_job: TrialJob, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    (hidden / "boto3").mkdir(parents=True)
    (hidden / "boto3" / "__init__.py").write_text("raise ImportError('this image has no boto3')\n")
    trial_job.environment["PYTHONPATH"] = f"{hidden}:{trial_job.environment['PYTHONPATH']}"
    (trial_job.script_folder.parent / "requirements.txt").write_text("--no-index\nboto3>=999\nnumpy>=1.20\n")
    trial_job.script(TRAIN)
    trial_job.hyperparameters(num_levels=2)
    code, output, errors = trial_job.run()
    assert code == 0, errors
    assert output.count(b"[tune-metric]") == 2
    assert errors.count("S3 cannot be used. this image has no boto3") == 1


def test_s3_that_hangs_does_not_keep_a_stop_waiting(trial_job: TrialJob) -> None:
    """It takes connections and never answers: the script has not begun, and never does."""
    trial_job.script("print('begun')")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        trial_job.environment["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process = trial_job.start(hurry_s=0.5)
        connection, _ = silent.accept()
        process.terminate()
        output, errors = process.communicate(timeout=60)
        connection.close()
    assert process.returncode == 143
    assert b"begun" not in output
    assert b"S3 has not taken the last reports" in errors
