"""Where users of Syne Tune look for these."""

from cloudtune.instance_info import InstanceInfo, InstanceInfos, select_instance_type

__all__ = ["InstanceInfo", "InstanceInfos", "select_instance_type"]
