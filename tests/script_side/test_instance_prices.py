"""Prices of the user's own, and prices that were looked up."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from cloudtune.clock import WallClock
from cloudtune.errors import SpecError
from cloudtune.instance_info import instance_infos, price_per_hour, prices_date, select_instance_type
from cloudtune.instance_prices import FRESH_S, LookedUp, keep


def give(monkeypatch: pytest.MonkeyPatch, path: Path, content: str) -> None:
    path.write_text(content)
    monkeypatch.setenv("CLOUDTUNE_PRICES", str(path))


def test_the_table_has_a_date() -> None:
    year, month = prices_date().split("-")
    assert int(year) >= 2025 and 1 <= int(month) <= 12


def test_a_csv_file_goes_before_the_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rows = (
        "# ours\ninstance_type,price_per_hour,vcpus,memory_gib,gpus\nml.m5.large,0.09,,,\nml.z9.huge,7,96,192,8\n"
    )
    give(monkeypatch, tmp_path / "prices.csv", f"{rows}ml.z9.small,1,,,\n")
    assert price_per_hour("ml.m5.large") == instance_infos()("ml.m5.large").price_per_hour == 0.09
    assert instance_infos()("ml.m5.large").vcpus == 2  # as before
    assert price_per_hour("ml.m5.xlarge") == 0.23
    assert "ml.z9.huge" in select_instance_type(min_gpu=8)
    assert price_per_hour("ml.z9.small") == 1.0 and "ml.z9.small" not in instance_infos()
    assert prices_date().endswith(f"except for those in {tmp_path / 'prices.csv'}")


def test_json_files_and_changes_of_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    give(monkeypatch, path, '{"ml.m5.large": 0.5}')
    assert price_per_hour("ml.m5.large") == 0.5
    path.write_text('[{"instance_type": "ml.m5.large", "price_per_hour": "0.75"}]')
    os.utime(path, ns=(1, 1))  # the file system's clock may be coarse
    assert price_per_hour("ml.m5.large") == 0.75
    monkeypatch.delenv("CLOUDTUNE_PRICES")
    assert price_per_hour("ml.m5.large") == 0.115


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("missing.csv", None),
        ("a.csv", "type,price\nml.m5.large,1\n"),
        ("b.csv", "instance_type,price_per_hour\nml.m5.large,cheap\n"),
        ("c.csv", "instance_type,price_per_hour\nml.m5.large,-1\n"),
        ("d.csv", "instance_type,price_per_hour\nml.m5.large,\n"),
        ("e.json", "{"),
        ("f.json", "3"),
        ("g.json", '{"ml.m5.large": Infinity}'),
        ("h.json", '["ml.m5.large"]'),
        ("i.json", '{"ml.m5.large": null}'),
    ],
)
def test_a_file_that_is_no_price_list_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, content: str | None
) -> None:
    monkeypatch.setenv("CLOUDTUNE_PRICES", str(tmp_path / name))
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(SpecError, match=rf"CLOUDTUNE_PRICES: .*{name}"):
        price_per_hour("ml.m5.large")


def test_what_was_looked_up_counts_for_a_month_in_its_region(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own_folder: Path
) -> None:
    now = WallClock().now()
    keep("eu-west-1", LookedUp("2026-11-02", now, {"ml.m5.large": 0.128}))
    assert price_per_hour("ml.m5.large", "eu-west-1") == 0.128
    assert prices_date("eu-west-1") == "2026-11-02"
    assert price_per_hour("ml.m5.xlarge", "eu-west-1") == price_per_hour("ml.m5.xlarge") == 0.23
    assert price_per_hour("ml.m5.large") == 0.115
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert price_per_hour("ml.m5.large") == 0.128
    give(monkeypatch, tmp_path / "prices.json", '{"ml.m5.large": 0.5}')
    assert price_per_hour("ml.m5.large", "eu-west-1") == 0.5
    monkeypatch.delenv("CLOUDTUNE_PRICES")
    keep("eu-west-1", LookedUp("2026-09-02", now - FRESH_S - 1, {"ml.m5.large": 0.2}))
    os.utime(own_folder / ".prices-eu-west-1.json", ns=(1, 1))
    assert price_per_hour("ml.m5.large", "eu-west-1") == 0.115


@pytest.mark.parametrize(
    "content", ["", "[]", '{"date": 1}', json.dumps({"date": "x", "at": "y", "usd_per_hour": {}})]
)
def test_a_damaged_file_of_looked_up_prices_is_as_none(own_folder: Path, content: str) -> None:
    own_folder.mkdir()
    (own_folder / ".prices-eu-west-1.json").write_text(content)
    assert price_per_hour("ml.m5.large", "eu-west-1") == 0.115
