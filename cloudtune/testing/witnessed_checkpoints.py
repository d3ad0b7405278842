"""As :mod:`cloudtune.testing.witnessed_script`, with checkpoints as :mod:`cloudtune.checkpointing` writes them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # it runs without site-packages, and so starts fast

from cloudtune.checkpointing import checkpoint_model_at_rung_level, resume_from_checkpointed_model
from cloudtune.testing import witnessed_script

#: In the folder of each checkpoint.
VALUE = "value"


def newest(folder: str) -> tuple[int, float]:
    """Level and value to begin with."""
    loaded = [(0, 0.0)]

    def load(path: str) -> int:
        loaded[0] = int(Path(path).name), float((Path(path) / VALUE).read_text())
        return loaded[0][0]

    resume_from_checkpointed_model({"st_checkpoint_dir": folder}, load)
    return loaded[0]


def store(folder: str, level: int, value: float) -> None:
    """Writes a level's value, if it is due."""

    def save(path: str, _level: int) -> None:
        (Path(path) / VALUE).write_text(repr(value))

    checkpoint_model_at_rung_level({"st_checkpoint_dir": folder}, save, level)


if __name__ == "__main__":
    witnessed_script.main(sys.argv[1:], newest, store)
