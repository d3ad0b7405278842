"""Which GPUs a trial gets. CUDA sees those that ``CUDA_VISIBLE_DEVICES`` names, so that is how it is told."""

from __future__ import annotations

import math
import re
import subprocess
from collections.abc import Hashable, Mapping, Sequence

from cloudtune.errors import SpecError

CUDA_VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"
_NVIDIA_SMI_TIMEOUT_S = 20.0
_DEVICE = re.compile(r"\d+|(GPU|MIG)-\S+")


class GpuPool:
    """Hands out GPUs, the least occupied first; among equals those handed out least often, then in order.

    Args:
        devices: As ``CUDA_VISIBLE_DEVICES`` names them.
        per_trial: How many each trial gets; 0 hides them all. With more trials than there are GPUs, they share.
    """

    def __init__(self, devices: Sequence[str], per_trial: int) -> None:
        if len(set(devices)) != len(devices):
            raise SpecError(f"GPUs are named twice: {', '.join(devices)}.")
        if per_trial > len(devices):
            raise SpecError(
                f"num_gpus_per_trial={per_trial}, but trials can use {len(devices)} GPUs: {', '.join(devices)}.",
                f"Use num_gpus_per_trial={len(devices)} or a machine with more GPUs.",
            )
        self.devices = tuple(devices)
        self._per_trial = per_trial
        self._num_assigned = dict.fromkeys(self.devices, 0)
        self._held: dict[Hashable, tuple[str, ...]] = {}

    def acquire(self, holder: Hashable, known: Sequence[str] = ()) -> tuple[str, ...]:
        """The GPUs of ``holder``: those that it is ``known`` to have, if they are of this pool."""
        if holder not in self._held:
            chosen = set(known) if known and set(known) <= set(self.devices) else set(self._least_used())
            self._held[holder] = tuple(device for device in self.devices if device in chosen)
            for device in self._held[holder]:
                self._num_assigned[device] += 1
        return self._held[holder]

    def release(self, holder: Hashable) -> None:
        """Gives back what ``holder`` has, if anything."""
        self._held.pop(holder, None)

    def _least_used(self) -> list[str]:
        load = dict.fromkeys(self.devices, 0)
        for held in self._held.values():
            for device in held:
                load[device] += 1
        ranked = sorted(self.devices, key=lambda device: (load[device], self._num_assigned[device]))
        return ranked[: self._per_trial]


def check_gpu_options(num_gpus_per_trial: float, gpus_to_use: Sequence[int] | None) -> None:
    """Raises SpecError for what no machine can satisfy."""
    number = num_gpus_per_trial
    legal = isinstance(number, (int, float)) and not isinstance(number, bool) and 0 <= number < math.inf
    if not legal or (number > 1 and number != int(number)):
        raise SpecError(
            f"num_gpus_per_trial={number!r} is not possible.",
            "Give a whole number of GPUs, or a fraction below 1 if several trials are to share a GPU (0.5: two).",
        )
    if gpus_to_use is None:
        return
    indices = list(gpus_to_use)
    if not indices or any(isinstance(i, bool) or not isinstance(i, int) or i < 0 for i in indices):
        raise SpecError(
            f"gpus_to_use={gpus_to_use!r} is no list of GPU numbers.", "Give numbers from 0, as [0, 2]."
        )
    if len(set(indices)) != len(indices):
        raise SpecError(f"gpus_to_use={gpus_to_use!r} names a GPU twice.", "Name each once.")


def make_pool(
    num_gpus_per_trial: float, gpus_to_use: Sequence[int] | None, environment: Mapping[str, str]
) -> GpuPool | None:
    """The pool of this machine's GPUs, None if it has none.

    Args:
        num_gpus_per_trial: A fraction below 1 makes trials share one GPU.
        gpus_to_use: Positions among the visible GPUs.
        environment: Of this process; a mask in it is honoured.

    Raises:
        SpecError: There are fewer GPUs than asked for.
    """
    devices = visible_gpus(environment)
    if gpus_to_use is not None:
        missing = [index for index in gpus_to_use if index >= len(devices)]
        if missing:
            raise SpecError(
                f"gpus_to_use names GPU {missing[0]}, but this machine shows {len(devices)} GPUs"
                f"{': ' + ', '.join(devices) if devices else ''}.",
                "Name positions among those, from 0."
                if devices
                else "Leave gpus_to_use out, or check the driver.",
            )
        devices = [devices[index] for index in gpus_to_use]
    per_trial = 1 if 0 < num_gpus_per_trial < 1 else int(num_gpus_per_trial)
    return GpuPool(devices, per_trial) if devices else None


def visible_gpus(environment: Mapping[str, str]) -> list[str]:
    """What ``CUDA_VISIBLE_DEVICES`` may name: the entries of the mask in ``environment``, else all indices."""
    mask = environment.get(CUDA_VISIBLE_DEVICES)
    if mask is None:
        return [str(index) for index in range(_count_gpus())]
    devices: list[str] = []
    for entry in (part.strip() for part in mask.split(",")):
        if not _DEVICE.fullmatch(entry) or entry in devices:
            break  # CUDA, too, ignores everything from the first entry on that it cannot use
        devices.append(entry)
    return devices


def _count_gpus() -> int:
    try:
        listing = subprocess.run(
            ["nvidia-smi", "--list-gpus"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_NVIDIA_SMI_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0  # no driver, or one that does not answer: no GPU that could be used
    return sum(bool(re.match(r"GPU \d+:", line)) for line in listing.stdout.splitlines())
