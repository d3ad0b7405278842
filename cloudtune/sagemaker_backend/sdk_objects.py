"""Reading objects of the SageMaker SDKs without importing them."""

from __future__ import annotations

from typing import Any

from cloudtune.errors import SpecError


def is_a(given: object, name: str) -> bool:
    """Whether it is of the SDK's class of that name, or of one derived from it."""
    return any(kind.__name__ == name and kind.__module__.startswith("sagemaker.") for kind in type(given).__mro__)


def value_of(owner: object, name: str) -> Any:
    """An attribute; None if there is none, or (in version 3) if it was not assigned."""
    value = getattr(owner, name, None)
    return None if type(value).__name__ == "Unassigned" else value


def text_of(owner: object, name: str, value: object) -> str:
    """``value``, which ``owner`` has under that name, if it is a string.

    Raises:
        SpecError: It is something else, such as a parameter of a pipeline.
    """
    if not isinstance(value, str):
        raise SpecError(
            f"{type(owner).__name__}({name}={value!r:.200}) is no text.",
            "Pass a string, not a parameter of a pipeline.",
        )
    return value


def impossible(owner: object, name: str, value: object, way_out: str) -> SpecError:
    """The error for something that jobs of trials cannot have."""
    return SpecError(f"{type(owner).__name__}({name}={value!r:.200}): jobs of trials cannot have that.", way_out)
