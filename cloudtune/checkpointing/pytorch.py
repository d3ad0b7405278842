"""The functions that save and load what a PyTorch script needs to continue exactly."""

from __future__ import annotations

import pickle
import random
import sys
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from cloudtune.errors import CheckpointError, MissingExtra, SpecError


def pytorch_load_save_functions(
    state_dict_objects: Mapping[str, Any],
    mutable_state: MutableMapping[str, Any] | None = None,
    fname: str = "checkpoint.pt",
) -> tuple[Callable[[str], int], Callable[[str, int], None]]:
    """The pair ``load_model_fn, save_model_fn`` for PyTorch.

    The states of the random number generators (torch, CUDA, NumPy's global one, ``random``) are saved as well and
    set when loading, so that a run that was interrupted continues exactly as if it had not been.

    Args:
        state_dict_objects: Name to model, optimizer, learning rate scheduler, scaler, ...: all that have
            ``state_dict`` and ``load_state_dict``.
        mutable_state: Further values (plain, NumPy, tensors), brought up to date in place when loading.
        fname: Name of the file in a checkpoint's directory.

    Raises:
        SpecError: An object lacks the two methods.
    """
    for name, item in state_dict_objects.items():
        if not (callable(getattr(item, "state_dict", None)) and callable(getattr(item, "load_state_dict", None))):
            raise SpecError(
                f"pytorch_load_save_functions: '{name}' is a {type(item).__name__}, which lacks state_dict or "
                "load_state_dict.",
                "Pass plain values in mutable_state.",
            )
    state = _TorchState(dict(state_dict_objects), mutable_state, fname)
    return state.load, state.save


class _TorchState:
    """What belongs to one training run. Its methods are the two functions."""

    def __init__(
        self, objects: dict[str, Any], mutable_state: MutableMapping[str, Any] | None, file_name: str
    ) -> None:
        self._objects = objects
        self._mutable_state = mutable_state
        self._file_name = file_name

    def save(self, local_path: str, resource: int) -> None:
        torch = _torch()
        path = Path(local_path) / self._file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        payload = {
            "resource": int(resource),
            "state_dicts": {name: item.state_dict() for name, item in self._objects.items()},
            "mutable_state": dict(self._mutable_state or {}),
            "rng": _rng_states(torch),
        }
        torch.save(payload, path)
        with torch.serialization.safe_globals(_numpy_globals()):
            unsafe = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        if unsafe:
            raise CheckpointError(
                f"The state to be saved in {self._file_name} contains {', '.join(sorted(unsafe))}, which torch "
                "loads only by running code from the file.",
                "Keep numbers, strings, tensors, NumPy arrays, lists and dicts; or, if you trust these classes, "
                "call torch.serialization.add_safe_globals([...]) at the beginning of the script.",
            )

    def load(self, local_path: str) -> int:
        path = Path(local_path) / self._file_name
        if not path.exists():
            return 0
        payload = self._read(path)
        for name, item in self._objects.items():
            try:
                item.load_state_dict(payload["state_dicts"][name])
            except Exception as error:
                raise CheckpointError(
                    f"'{name}' ({type(item).__name__}) refuses its state in {path}: {error}",
                    "Has it changed since? Build it as it was, or remove the checkpoint to start from scratch.",
                ) from error
        if self._mutable_state is not None:
            self._mutable_state.update(payload["mutable_state"])
        _set_rng_states(_torch(), payload["rng"])
        return int(payload["resource"])

    def _read(self, path: Path) -> dict[str, Any]:
        """All of the file in memory, and fit for what is to be loaded."""
        torch = _torch()
        try:
            with torch.serialization.safe_globals(_numpy_globals()):
                payload: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            saved = set(payload["state_dicts"])
            complete = {"resource", "mutable_state", "rng"} <= set(payload)
        except (OSError, EOFError, RuntimeError, ValueError, KeyError, TypeError, pickle.UnpicklingError) as error:
            raise CheckpointError(
                f"Cannot read {path}: {error}",
                "It was written by something else, or needs torch.serialization.add_safe_globals([...]) as when "
                "it was saved. Remove the checkpoint to start from scratch.",
            ) from error
        if saved != set(self._objects) or not complete:
            raise CheckpointError(
                f"{path} holds the states of {sorted(saved)}, but the script wants {sorted(self._objects)}.",
                "Pass the same names to pytorch_load_save_functions as when it was saved, or remove the "
                "checkpoint to start from scratch.",
            )
        return payload


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise MissingExtra.of("torch", "benchmarks", "pytorch_load_save_functions") from error
    if not hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint"):
        raise MissingExtra(
            f"pytorch_load_save_functions needs torch 2.6 or later, not {torch.__version__}.",
            "pip install --upgrade torch",
        )
    return torch


def _numpy_globals() -> list[Any]:
    """What the pickle of a NumPy array or scalar refers to; none of it runs code from the file."""
    import numpy as np

    core = np._core if hasattr(np, "_core") else np.core  # moved in NumPy 2
    dtypes = {type(np.dtype(code)) for code in np.typecodes["All"] if code != "O"}
    return [np.ndarray, np.dtype, core.multiarray._reconstruct, core.multiarray.scalar, *sorted(dtypes, key=repr)]


def _rng_states(torch: Any) -> dict[str, Any]:
    states: dict[str, Any] = {"torch": torch.get_rng_state(), "python": random.getstate()}
    if torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state_all()
    if "numpy" in sys.modules:
        states["numpy"] = sys.modules["numpy"].random.get_state()
    return states


def _set_rng_states(torch: Any, states: dict[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    random.setstate(states["python"])
    if "numpy" in states:
        import numpy as np

        np.random.set_state(states["numpy"])
    for device, state in enumerate(states.get("cuda", [])[: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(state, device)
