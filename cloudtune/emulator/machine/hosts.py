"""The hosts of a job, as its request asks for them and as ``/opt/ml/input/config`` describes them."""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from cloudtune.emulator.fleet.instances import Cluster
from cloudtune.emulator.service_error import JsonObject

_ONLY_GROUP = "homogeneousCluster"
#: Addresses from 127.64.0.0 on: away from those that people use.
_FIRST_NETWORK = 64 * 256
_NETWORKS = 128 * 256


@dataclass(frozen=True)
class Host:
    """One instance of a job: ``algo-1``, ``algo-2``, ..."""

    name: str
    instance_type: str
    group: str


def hosts_of(request: JsonObject, cluster: Cluster) -> list[Host]:
    """All hosts of a job that runs on ``cluster``, numbered through its instance groups."""
    groups = request["ResourceConfig"].get("InstanceGroups") or [{"InstanceGroupName": _ONLY_GROUP}]
    kinds = [
        (instance_type, group["InstanceGroupName"])
        for (instance_type, count), group in zip(cluster, groups, strict=True)
        for _ in range(count)
    ]
    return [Host(f"algo-{number}", kind, group) for number, (kind, group) in enumerate(kinds, start=1)]


def resource_configuration(hosts: Sequence[Host], current: Host) -> JsonObject:
    """``resourceconfig.json`` on one of ``hosts``."""
    groups: dict[str, JsonObject] = {}
    for host in hosts:
        group = {"instance_group_name": host.group, "instance_type": host.instance_type, "hosts": []}
        groups.setdefault(host.group, group)["hosts"].append(host.name)
    return {
        "current_host": current.name,
        "current_instance_type": current.instance_type,
        "current_group_name": current.group,
        "hosts": [host.name for host in hosts],
        "instance_groups": list(groups.values()),
        # Through which the hosts of a job reach one another here; eth0 in the service.
        "network_interface_name": "lo" if sys.platform.startswith("linux") else "lo0",
    }


def hosts_file(hosts: Sequence[Host], addresses: Sequence[str]) -> str:
    """``/etc/hosts`` of every container of a job."""
    lines = ["127.0.0.1 localhost", "::1 localhost"]
    lines += [f"{address} {host.name}" for host, address in zip(hosts, addresses, strict=True)]
    return "\n".join(lines) + "\n"


class Addresses:
    """Loopback addresses that no other job uses at the same time. Thread-safe.

    Two jobs may listen on the same port at once, each at its own address. Who listens on all addresses, like
    torch's store at ``MASTER_PORT``, has that port alone on this machine, except in jobs with
    EnableNetworkIsolation, which have a network of their own.
    """

    def __init__(self) -> None:
        self._networks = itertools.count()
        self._lock = threading.Lock()

    def take(self, count: int) -> list[str]:
        """One for each of at most 250 hosts; given again after 32,768 further calls.

        Where only 127.0.0.1 exists (macOS), that for all.
        """
        if not sys.platform.startswith("linux"):
            return ["127.0.0.1"] * count
        with self._lock:
            network = _FIRST_NETWORK + next(self._networks) % _NETWORKS
        return [f"127.{network // 256}.{network % 256}.{number}" for number in range(1, count + 1)]
