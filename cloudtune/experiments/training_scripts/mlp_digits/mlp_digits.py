"""Trains a multi-layer perceptron on scikit-learn's handwritten digits, reporting after each epoch.

Needs no download: the data are part of scikit-learn.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: the model is too small to gain from more threads

import numpy as np
import torch
from torch import Tensor, nn

from cloudtune.checkpointing import (
    add_checkpointing_to_argparse,
    checkpoint_model_at_rung_level,
    pytorch_load_save_functions,
    resume_from_checkpointed_model,
)
from cloudtune.clock import WallClock
from cloudtune.errors import CloudtuneError, MissingExtra
from cloudtune.report import Reporter
from cloudtune.script_args import add_config_json_to_argparse, load_config_json

METRIC_NAME = "accuracy"
METRIC_MODE = "max"
RESOURCE_ATTR = "epoch"
MAX_RESOURCE_ATTR = "epochs"
ELAPSED_TIME_ATTR = "elapsed_time"

NUM_VALIDATION = 450
NUM_CLASSES = 10
_MAX_PIXEL = 16
_SPLIT_SEED = 0  # of the split alone: all trials of all experiments compare on the same validation set


class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019), as ``torch.optim.AdamW``.

    Using any class of ``torch.optim`` imports torch's compiler, which takes longer than this training.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float, weight_decay: float) -> None:
        self.parameters = list(parameters)
        self.lr, self.weight_decay = lr, weight_decay
        self.beta1, self.beta2, self.eps = 0.9, 0.999, 1e-8
        self.num_steps = 0
        self.means = [torch.zeros_like(p) for p in self.parameters]
        self.squares = [torch.zeros_like(p) for p in self.parameters]

    @torch.no_grad()
    def step(self) -> None:
        """Updates the parameters by their gradients, and clears those."""
        self.num_steps += 1
        correction1 = 1 - self.beta1**self.num_steps
        correction2 = (1 - self.beta2**self.num_steps) ** 0.5
        for parameter, mean, square in zip(self.parameters, self.means, self.squares, strict=True):
            gradient = parameter.grad
            if gradient is None:
                continue
            parameter.mul_(1 - self.lr * self.weight_decay)
            mean.lerp_(gradient, 1 - self.beta1)
            square.mul_(self.beta2).addcmul_(gradient, gradient, value=1 - self.beta2)
            parameter.addcdiv_(mean, square.sqrt().div_(correction2).add_(self.eps), value=-self.lr / correction1)
            parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        return {"num_steps": self.num_steps, "means": self.means, "squares": self.squares}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.num_steps = state["num_steps"]
        self.means, self.squares = state["means"], state["squares"]


def load_digits() -> tuple[Tensor, Tensor]:
    """Images of shape (1797, 64) in [0, 1], and their labels of shape (1797,)."""
    spec = importlib.util.find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra.of("scikit-learn", "benchmarks", "The benchmark mlp_digits")
    file = Path(spec.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    if file.exists():  # importing scikit-learn would take more than a second
        table = np.loadtxt(file, delimiter=",", dtype=np.float32)
        images, labels = table[:, :-1], table[:, -1]
    else:
        from sklearn import datasets

        images, labels = datasets.load_digits(return_X_y=True)
    return torch.tensor(images / _MAX_PIXEL, dtype=torch.float32), torch.tensor(labels, dtype=torch.long)


def split(images: Tensor, labels: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """(training images, labels), (validation images, labels): always the same."""
    order = torch.from_numpy(np.random.default_rng(_SPLIT_SEED).permutation(len(labels)))
    train, validation = order[NUM_VALIDATION:], order[:NUM_VALIDATION]
    return (images[train], labels[train]), (images[validation], labels[validation])


def build_model(num_inputs: int, config: dict[str, Any]) -> nn.Module:
    return nn.Sequential(
        nn.Linear(num_inputs, config["n_units_1"]),
        nn.ReLU(),
        nn.Dropout(config["dropout_1"]),
        nn.Linear(config["n_units_1"], config["n_units_2"]),
        nn.ReLU(),
        nn.Dropout(config["dropout_2"]),
        nn.Linear(config["n_units_2"], NUM_CLASSES),
    )


def train_epoch(model: nn.Module, optimizer: AdamW, data: tuple[Tensor, Tensor], batch_size: int) -> None:
    model.train()
    images, labels = data
    order = torch.randperm(len(labels))
    for begin in range(0, len(order), batch_size):
        batch = order[begin : begin + batch_size]
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


@torch.no_grad()
def validate(model: nn.Module, data: tuple[Tensor, Tensor]) -> dict[str, float]:
    model.eval()
    images, labels = data
    logits = model(images)
    return {
        METRIC_NAME: (logits.argmax(dim=1) == labels).sum().item() / len(labels),
        "val_loss": nn.functional.cross_entropy(logits, labels).item(),
    }


def objective(config: dict[str, Any]) -> None:
    """Trains for ``config["epochs"]`` epochs, from the last checkpoint if there is one."""
    torch.set_num_threads(1)
    torch.manual_seed(config["seed"])
    np.random.seed(config["seed"])
    random.seed(config["seed"])
    report = Reporter()
    clock = WallClock()
    train_data, validation_data = split(*load_digits())
    model = build_model(train_data[0].shape[1], config)
    optimizer = AdamW(model.parameters(), config["learning_rate"], config["weight_decay"])
    progress = {ELAPSED_TIME_ATTR: 0.0}  # seconds of training, over all attempts
    load_model_fn, save_model_fn = pytorch_load_save_functions({"model": model, "optimizer": optimizer}, progress)
    resume_from = resume_from_checkpointed_model(config, load_model_fn)
    start = clock.now() - progress[ELAPSED_TIME_ATTR]
    for epoch in range(resume_from + 1, config[MAX_RESOURCE_ATTR] + 1):
        train_epoch(model, optimizer, train_data, config["batch_size"])
        metrics = validate(model, validation_data)
        progress[ELAPSED_TIME_ATTR] = clock.now() - start
        # Before the report: the scheduler may pause the trial as soon as it has seen it.
        checkpoint_model_at_rung_level(config, save_model_fn, epoch)
        report(**{RESOURCE_ATTR: epoch}, **metrics, **progress)


def parse_args() -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(f"--{MAX_RESOURCE_ATTR}", type=int, default=27)
    parser.add_argument("--n_units_1", type=int, default=64)
    parser.add_argument("--n_units_2", type=int, default=64)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--dropout_1", type=float, default=0.1)
    parser.add_argument("--dropout_2", type=float, default=0.1)
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--weight_decay", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=0)
    add_checkpointing_to_argparse(parser)
    add_config_json_to_argparse(parser)
    args, _ = parser.parse_known_args()
    return load_config_json(args)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    try:
        objective(parse_args())
    except CloudtuneError as error:
        raise SystemExit(f"mlp_digits: {error}") from error
