"""Checkpoints of training scripts that survive whatever dies while they are written.

Torch and NumPy are imported only where they are used.
"""

from cloudtune.checkpointing.pytorch import pytorch_load_save_functions
from cloudtune.checkpointing.training_script import (
    add_checkpointing_to_argparse,
    checkpoint_model_at_rung_level,
    resume_from_checkpointed_model,
    seen_level,
)

__all__ = [
    "add_checkpointing_to_argparse",
    "checkpoint_model_at_rung_level",
    "pytorch_load_save_functions",
    "resume_from_checkpointed_model",
    "seen_level",
]
