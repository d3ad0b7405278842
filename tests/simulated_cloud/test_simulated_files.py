"""What jobs of the simulated cloud write: reports, checkpoints, logs; and what goes wrong with it."""

from __future__ import annotations

import pytest
from cloud_rig import CloudRig, curve, scenario

from cloudtune.emulator.faults.kinds import EmptyLogPage, Interruption, Limits, LogLag, LostCheckpointUpload
from cloudtune.errors import InvalidRequest, ResourceNotFound
from cloudtune.report import parse_report
from cloudtune.report_stream import RepetitionFilter, decode_lines
from cloudtune.simulated_cloud import CloudSettings, FileFaults, TrialScript

BEGIN = 30.0  # of the first epoch


def test_reports_grow_a_second_after_they_are_made() -> None:
    rig = CloudRig()
    rig.create(epochs=3)
    rig.later(BEGIN + 60.5)
    assert rig.epochs("0-0") == []
    rig.later(1)
    (item,) = rig.files.report_objects()
    assert rig.epochs("0-0") == [1]
    rig.later(60)
    (grown,) = rig.files.report_objects()
    assert grown.etag != item.etag
    tail, length = decode_lines(rig.files.read_report(grown, item.size))
    assert length == grown.size - item.size
    assert [(record["seq"], record["metrics"]["loss"]) for record in tail] == [(1, 3.0)]
    with pytest.raises(InvalidRequest):
        rig.files.read_report(grown, grown.size)


def test_segments() -> None:
    text = "x" * 30_000
    rig = CloudRig(script=TrialScript(lambda config, level: {"text": text}))
    rig.create(epochs=5)
    rig.later(1000)
    assert [item.segment for item in rig.files.report_objects()] == [0, 1, 2]
    assert all(item.size <= 64 * 1024 for item in rig.files.report_objects())
    assert rig.epochs("0-0") == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("repair_s", [60.0, None])
def test_torn_reports(repair_s: float | None) -> None:
    faults = FileFaults(torn_reports=1.0, repair_s=repair_s)
    rig = CloudRig(settings=CloudSettings(file_faults=faults))
    trials = range(8)
    for trial in trials:
        rig.create(trial, epochs=4)
    torn: set[int] = set()
    for _ in range(300):
        rig.later(1)
        for item in rig.files.report_objects():
            content = rig.files.read_report(item, 0)
            if decode_lines(content)[1] < len(content):
                torn.add(int(item.label.partition("-")[0]))
    whole = {trial for trial in trials if rig.epochs(f"{trial}-0") == [1, 2, 3, 4]}
    if repair_s is None:
        assert torn == set(trials)
        assert len(whole) < len(trials)
    else:
        assert len(torn) > 4, "the last upload repairs what it finds"
        assert whole == set(trials)


def test_what_is_torn_for_ever_is_in_the_log() -> None:
    rig = CloudRig(settings=CloudSettings(file_faults=FileFaults(torn_reports=1.0, repair_s=None)))
    names = [rig.create(trial, epochs=4) for trial in range(4)]
    rig.later(1000)
    for name in names:
        lines = [line for _, line in rig.world.jobs.log_page(name, None).lines]
        assert [report["epoch"] for line in lines if (report := parse_report(line))] == [1, 2, 3, 4]


def test_checkpoints_are_pruned_as_the_library_does() -> None:
    rig = CloudRig(rung_levels=(1, 3, 9))
    rig.create(epochs=9)
    seen: list[list[int]] = []
    for _ in range(30):
        rig.later(60)
        if not seen or rig.checkpoints() != seen[-1]:
            seen.append(rig.checkpoints())
    # A rung level, or a minute after the last one: every level here; two are always kept.
    assert seen == [[], [1], *([level, level + 1] for level in range(1, 9))]


def test_checkpoints_at_rung_levels() -> None:
    rig = CloudRig(script=TrialScript(curve, epoch_s=1.0, setup_s=1.0), rung_levels=(1, 3, 9))
    rig.create(epochs=9)
    rig.later(100)
    assert rig.checkpoints() == [3, 9]


def test_resume_goes_by_what_is_recorded() -> None:
    rig = CloudRig(rung_levels=(1, 2, 3))
    rig.create(0, 0, epochs=3)
    rig.later(1000)
    assert rig.checkpoints() == [2, 3]
    rig.create(0, 1, seen=2, epochs=5)
    rig.later(40)
    assert rig.world.launches[-1].from_level == 2
    assert rig.checkpoints() == [2], "the script has removed what lies beyond"
    rig.later(1000)
    assert rig.epochs("0-1") == [3, 4, 5]
    rig.create(0, 2, seen=0, epochs=5)
    rig.later(40)
    assert rig.world.launches[-1].from_level == 0
    assert rig.world.violations == []


def test_copy_and_delete() -> None:
    rig = CloudRig()
    rig.create(0)
    rig.later(1000)
    rig.files.copy_checkpoint(0, 7)
    rig.files.copy_checkpoint(3, 8)
    assert (rig.checkpoints(7), rig.checkpoints(8)) == ([3], [])
    rig.create(7, seen=3, epochs=4)
    rig.later(1000)
    assert rig.epochs("7-0") == [4]
    rig.files.delete_checkpoints([0, 7, 99])
    assert rig.world.checkpoints(rig.where) == {}
    rig.files.delete_reports(["0-0", "99-0"])
    assert {item.label for item in rig.files.report_objects()} == {"7-0"}
    gone = rig.files.report_objects()[0]
    rig.files.delete_reports(["7-0"])
    with pytest.raises(ResourceNotFound):
        rig.files.read_report(gone, 0)
    assert rig.world.violations == []


def test_a_dying_job_uploads_once_more() -> None:
    rig = CloudRig(settings=CloudSettings(file_faults=FileFaults(late_checkpoint=1.0, late_checkpoint_s=50.0)))
    name = rig.create()
    while not rig.status(name).state.is_final:
        rig.later(1)
    rig.files.delete_checkpoints([0])
    assert rig.checkpoints() == []
    rig.later(60)
    assert rig.checkpoints() == [3]


def test_lost_checkpoints() -> None:
    rig = CloudRig(LostCheckpointUpload(key="*/2"), Interruption(training_s=140.0, limits=Limits(times=1)))
    rig.create(epochs=4, spot=True)
    rig.later(1000)
    assert [launch.from_level for launch in rig.world.launches] == [0, 1]
    assert rig.epochs("0-0") == [1, 2, 3, 4]


def test_no_notice_loses_the_checkpoint_on_its_way() -> None:
    """Made at 130 s of training, in S3 at 132 s."""
    for when, level in ((131.5, 1), (132.5, 2)):
        rig = CloudRig(Interruption(training_s=when, limits=Limits(times=1)))
        rig.create(epochs=4, spot=True)
        rig.later(1000)
        assert [launch.from_level for launch in rig.world.launches] == [0, level]


def test_log() -> None:
    settings = CloudSettings(scenario(LogLag(lag_s=30.0), EmptyLogPage(probability=0.5)), seed=5)
    rig = CloudRig(settings=settings)
    name = rig.create(epochs=3)
    rig.later(BEGIN + 80)
    assert rig.world.jobs.log_page(name, None).lines == ()
    lines: list[tuple[int, str]] = []
    cursor, empty_pages = None, 0
    for _ in range(400):
        rig.later(1)
        page = rig.world.jobs.log_page(name, cursor)
        cursor = page.cursor
        lines += page.lines
        empty_pages += not page.lines and not page.at_end
    repetitions = RepetitionFilter("epoch")
    numbers = [repetitions.number(report) for _, line in lines if (report := parse_report(line))]
    assert numbers == [0, 1, 2]
    assert empty_pages > 0
    with pytest.raises(ResourceNotFound):
        rig.world.jobs.log_page("nobody", None)
