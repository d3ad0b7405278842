"""Who may write: one session at a time, whatever the order of calls, the clocks of machines, and lost answers."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_s3 import Bucket, Line, MachineClock
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from cloudtune.aws.objects import S3Objects
from cloudtune.aws.session import AwsSession
from cloudtune.clock import VirtualClock
from cloudtune.errors import Conflict, Unreachable
from cloudtune.paths import S3Uri
from cloudtune.remote import claim_record
from cloudtune.remote.claim_record import ClaimRecord
from cloudtune.remote.polite_claim import PoliteClaim
from cloudtune.remote.writer_claim import CLAIM_NAME, NewestClaim, WriterClaim

STATE = S3Uri("bucket", "cloudtune/exp/state")
KEY = (STATE / CLAIM_NAME).key


@pytest.fixture
def world() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def bucket(world: VirtualClock) -> Bucket:
    return Bucket(world)


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """What happens from now on happens on that machine."""
    return lambda name: monkeypatch.setattr(claim_record, "this_machine", lambda: name)


def polite(bucket: Bucket, line: Line | None = None, clock: MachineClock | None = None) -> PoliteClaim:
    return PoliteClaim((line or Line(bucket)).objects, STATE, clock or MachineClock(_world(bucket)))


def _world(bucket: Bucket) -> VirtualClock:
    assert isinstance(bucket.clock, VirtualClock)
    return bucket.clock


def refusal(claim: WriterClaim, takeover: bool = False) -> str:
    with pytest.raises(Conflict) as caught:
        claim.take("ben:2", takeover)
    assert not claim.is_taken
    return str(caught.value)


@pytest.mark.parametrize("wrong_by_s", [0.0, -7200.0, 7200.0])
def test_the_second_is_refused_and_told_what_to_do(
    world: VirtualClock, bucket: Bucket, on: Callable[[str], None], wrong_by_s: float
) -> None:
    on("there")
    first = polite(bucket)
    first.take("anna:1")
    on("here")
    second = polite(bucket, clock=MachineClock(world, wrong_by_s))
    world.sleep(19)
    first.renew_if_due()
    text = refusal(second)
    assert "anna:1 since 2023-11-14 22:13:20 UTC. Its last sign of life was 19 s ago" in text
    assert "Stop it there, or wait" in text
    world.sleep(1)
    first.renew_if_due()
    world.sleep(90)
    assert "sign of life was 90 s ago" in refusal(second)
    world.sleep(1)
    text = refusal(second)
    assert "no sign of life for 91 s" in text
    assert "--takeover, or Tuner.run(takeover=True)" in text
    first.release()
    second.take("ben:2")
    second.check()
    assert "ben:2" in refusal(first)


def test_one_that_has_died_here_is_replaced_without_asking(bucket: Bucket) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    alive = os.getppid()
    for pid, machine, is_gone in [
        (gone.pid, claim_record.this_machine(), True),
        (gone.pid, "another machine", False),
        (gone.pid, "", False),
        (alive, claim_record.this_machine(), False),
    ]:
        record = ClaimRecord("anna:1", "session", machine, pid)
        Line(bucket).objects.put(STATE / CLAIM_NAME, record.encode())
        if is_gone:
            polite(bucket).take("ben:2")
        else:
            assert "anna:1" in refusal(polite(bucket))


def test_sessions_of_one_process(bucket: Bucket) -> None:
    first, second = polite(bucket), polite(bucket)
    first.take("anna:1")
    assert "anna:1" in refusal(second)
    first.drop()
    second.take("ben:2")
    with pytest.raises(Conflict, match="ben:2 has taken over"):
        first.check()


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"3", b'{"holder": 7}', b'{"holder": "anna:1", "session": "x"}']
)
def test_what_cannot_be_read_belongs_to_somebody(bucket: Bucket, text: bytes) -> None:
    Line(bucket).objects.put(STATE / CLAIM_NAME, text)
    assert "is held by" in refusal(polite(bucket))


def test_takeover_of_one_that_lives_is_refused(
    world: VirtualClock, bucket: Bucket, on: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    on("there")
    holder = polite(bucket)
    holder.take("anna:1")
    on("here")
    clock = MachineClock(world, 1e6)
    clock.on_sleep = holder.renew_if_due
    begin = world.now()
    text = refusal(polite(bucket, clock=clock), takeover=True)
    assert "anna:1 has just shown a sign of life" in text
    assert 20 <= world.now() - begin <= 25
    assert "Making sure that" in caplog.text
    holder.check()


@pytest.mark.parametrize(("silent_s", "waits_s"), [(3, 45), (44, 5), (45, 0), (1e5, 0)])
def test_takeover_of_one_that_is_silent(
    world: VirtualClock, bucket: Bucket, on: Callable[[str], None], silent_s: float, waits_s: float
) -> None:
    on("there")
    holder = polite(bucket)
    holder.take("anna:1")
    on("here")
    world.sleep(silent_s)
    begin = world.now()
    successor = polite(bucket, clock=MachineClock(world, -1e6))
    successor.take("ben:2", takeover=True)
    assert world.now() - begin <= waits_s
    assert world.now() - begin + silent_s >= 45
    for use in (holder.check, holder.renew_if_due):
        world.sleep(20)
        with pytest.raises(Conflict, match="ben:2 has taken over"):
            use()
    holder.release()
    successor.check()
    assert b'"released": false' in bucket.contents[KEY][0]


@pytest.mark.parametrize("takeover", [False, True])
def test_a_laptop_that_slept_an_hour_goes_on_unless_somebody_came(
    world: VirtualClock, bucket: Bucket, on: Callable[[str], None], takeover: bool
) -> None:
    on("laptop")
    laptop = polite(bucket)
    laptop.take("anna:1")
    assert not laptop.needs_confirmation()
    world.sleep(3600)
    assert laptop.needs_confirmation()
    on("desk")
    if takeover:
        polite(bucket).take("ben:2", takeover=True)
        with pytest.raises(Conflict, match="ben:2 has taken over"):
            laptop.renew_if_due()
    else:
        assert "for 60 min" in refusal(polite(bucket))
        laptop.renew_if_due()
        laptop.check()
        assert not laptop.needs_confirmation()


@pytest.mark.parametrize("for_long", [False, True])
def test_an_answer_that_is_lost_does_not_make_it_somebody_elses(
    world: VirtualClock, bucket: Bucket, for_long: bool
) -> None:
    line = Line(bucket)
    claim = polite(bucket, line)
    claim.take("anna:1")
    world.sleep(20)
    line.loses_answer, line.cuts = True, for_long
    with pytest.raises(Unreachable) if for_long else contextlib.nullcontext():
        claim.renew_if_due()
    line.open()
    claim.check()
    world.sleep(50)
    claim.renew_if_due()
    assert not claim.needs_confirmation()
    assert line.objects.age_s(STATE / CLAIM_NAME) == 0


def test_a_claim_that_was_removed_is_written_again(world: VirtualClock, bucket: Bucket) -> None:
    claim = polite(bucket)
    claim.take("anna:1")
    del bucket.contents[KEY]
    claim.check()
    world.sleep(20)
    claim.renew_if_due()
    assert "anna:1" in refusal(polite(bucket))


def test_inside_jobs_the_newest_wins(world: VirtualClock, bucket: Bucket, on: Callable[[str], None]) -> None:
    on("instance 1")
    old, new = (NewestClaim(Line(bucket).objects, STATE, MachineClock(world)) for _ in range(2))
    old.take("algo-1:7")
    world.sleep(20)
    old.renew_if_due()
    on("instance 2")
    new.take("algo-1:9")
    new.check()
    with pytest.raises(Conflict, match="algo-1:9 has taken over"):
        old.check()
    on("laptop")
    assert "algo-1:9" in refusal(polite(bucket))
    new.release()
    polite(bucket).take("anna:1")


class Contest:
    """Contenders, each of which comes along in the middle of what the one before it does."""

    def __init__(self, bucket: Bucket, takeover: bool, moments: list[int]) -> None:
        self.winners: list[WriterClaim] = []
        self.losers = 0
        self._bucket, self._takeover, self._moments = bucket, takeover, moments

    def enter(self, number: int = 0) -> None:
        line = Line(self._bucket)
        if number < len(self._moments):
            line.before = lambda call: self.enter(number + 1) if call == self._moments[number] else None
        clock = MachineClock(_world(self._bucket))
        clock.on_sleep = self._live
        claim = polite(self._bucket, line, clock)
        try:
            claim.take(f"contender {number}", self._takeover)
            self.winners.append(claim)
        except Conflict:
            self.losers += 1

    def _live(self) -> None:
        """What the uploading threads of those who have won do meanwhile."""
        for claim in self.winners:
            claim.renew_if_due()


@pytest.mark.parametrize("before", ["nothing", "released", "died here", "silent"])
def test_one_of_several_wins_whoever_interrupts_whom(before: str, on: Callable[[str], None]) -> None:
    interrupted = 0
    for moments in itertools.product(range(7), range(7)):
        bucket = Bucket(VirtualClock())
        on("there" if before == "silent" else "here")
        if before != "nothing":
            earlier = polite(bucket)
            earlier.take("anna:1")
            if before == "released":
                earlier.release()
            elif before == "died here":
                earlier.drop()
        on("here")
        _world(bucket).sleep(1000)
        contest = Contest(bucket, before == "silent", list(moments))
        contest.enter()
        interrupted += contest.losers
        holding = 0
        for claim in contest.winners:
            try:
                claim.check()
                holding += 1
            except Conflict:
                pass
        assert (len(contest.winners), holding) == (1, 1), moments
    assert interrupted > 10


@pytest.fixture(scope="module")
def one_by_one() -> Iterator[str]:
    """A server that answers one request after the other, as S3 does for one object: moto alone looks at a
    condition and writes in two steps."""
    server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=False)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()


def test_one_of_two_processes_wins(one_by_one: str) -> None:
    environ = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "us-east-1"}
    session = AwsSession(endpoint_url=one_by_one, environ=environ)
    bucket = session.default_bucket()
    S3Objects(session).put(S3Uri(bucket, "x"), b"")
    command = [sys.executable, str(Path(__file__).with_name("claim_contest.py")), one_by_one, bucket]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]

    def tell(process: subprocess.Popen[str], order: str) -> None:
        assert process.stdin is not None
        process.stdin.write(order + "\n")
        process.stdin.flush()

    def answer(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip()

    try:
        assert [answer(process) for process in processes] == ["ready", "ready"]
        for number in range(12):
            for process in processes:
                tell(process, f"take state-{number // 4}")  # absent at first, then released
            answers = [answer(process) for process in processes]
            assert answers.count("won") == 1, answers
            winner = processes[answers.index("won")]
            assert f"process-{winner.pid}" in answers[1 - answers.index("won")]
            tell(winner, "release")
            assert answer(winner) == "released"
    finally:
        for process in processes:
            process.kill()
            process.communicate()
