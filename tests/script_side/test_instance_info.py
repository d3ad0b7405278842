"""The table of instance types."""

from __future__ import annotations

import pytest

from cloudtune.errors import NotFound, SpecError
from cloudtune.instance_info import InstanceInfos, instance_infos, price_per_hour, select_instance_type


def test_known_types():
    infos = InstanceInfos()
    info = infos("ml.g4dn.12xlarge")
    assert (info.gpus, info.vcpus, info.memory_gib) == (4, 48, 192)
    assert 4 < info.price_per_hour < 6
    assert price_per_hour("ml.m5.large") == infos("ml.m5.large").price_per_hour == 0.115


def test_families():
    families = {info.name.rsplit(".", 1)[0] for info in instance_infos()}
    wanted = "m5 c5 m4 c4 g4dn g5 g6 p3 p4d p5 trn1"
    assert {f"ml.{family}" for family in wanted.split()} <= families


def test_sane_numbers():
    assert len(instance_infos()) == len({info.name for info in instance_infos()}) >= 50
    for info in instance_infos():
        assert info.name.startswith("ml.")
        assert 0.02 < info.price_per_hour / info.vcpus < 0.9
        assert 1 <= info.memory_gib / info.vcpus <= 16
        assert info.gpus in (0, 1, 4, 8)


def test_within_a_family_more_costs_more():
    for info in instance_infos():
        for other in instance_infos():
            same_family = info.name.rsplit(".", 1)[0] == other.name.rsplit(".", 1)[0]
            if same_family and info.gpus == other.gpus and info.vcpus < other.vcpus:
                assert info.price_per_hour < other.price_per_hour


def test_unknown_types():
    assert price_per_hour("ml.m5.huge") is None
    with pytest.raises(NotFound, match=r"ml\.m5\.huge") as error:
        InstanceInfos()("ml.m5.huge")
    assert "ml.m5.large, ml.m5.xlarge" in str(error.value)
    with pytest.raises(NotFound) as error:
        InstanceInfos()("t2")
    assert "ml.g5.*" in str(error.value)


def test_selection():
    assert len(select_instance_type()) == len(instance_infos())
    assert select_instance_type(min_gpu=8, max_gpu=8)[0] == "ml.g6.48xlarge"
    assert select_instance_type(max_gpu=0, max_cost_per_hour=0.21) == ["ml.m5.large", "ml.c5.xlarge"]
    assert select_instance_type(min_cost_per_hour=63) == ["ml.p5.48xlarge"]
    assert select_instance_type(min_gpu=9) == []


@pytest.mark.parametrize(
    "bounds", [{"min_gpu": 2, "max_gpu": 1}, {"min_cost_per_hour": 2, "max_cost_per_hour": 1}]
)
def test_crossed_bounds(bounds):
    with pytest.raises(SpecError, match="select_instance_type"):
        select_instance_type(**bounds)
