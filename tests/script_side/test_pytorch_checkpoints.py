"""The PyTorch pair of functions: exact continuation, nothing half-loaded."""

from __future__ import annotations

import collections
import pickle
import random

import numpy as np
import pytest

from cloudtune import constants
from cloudtune.checkpointing import (
    checkpoint_model_at_rung_level,
    pytorch_load_save_functions,
    resume_from_checkpointed_model,
)
from cloudtune.errors import CheckpointError, SpecError

torch = pytest.importorskip("torch")
nn = torch.nn


class Counter:
    """The least that has a state."""

    def __init__(self):
        self.count = 0

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


class Training:
    """A small network with dropout and momentum, whose training uses all three global generators."""

    def __init__(self, directory=None, units: int = 8, seed: int = 0):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        self.config = {constants.ST_CHECKPOINT_DIR: str(directory) if directory else None}
        self.images, self.labels = torch.randn(64, 6), torch.randint(0, 3, (64,))
        self.model = nn.Sequential(nn.Linear(6, units), nn.ReLU(), nn.Dropout(0.4), nn.Linear(units, 3))
        self.momenta = nn.ParameterList([torch.zeros_like(p) for p in self.model.parameters()])
        self.history = {"losses": [], "best": np.float64("inf")}
        objects = {"model": self.model, "momenta": self.momenta}
        self.load, self.save = pytorch_load_save_functions(objects, self.history)

    def epoch(self) -> None:
        batch = torch.randperm(64)[:32]
        noise = np.random.normal() + random.random()
        loss = nn.functional.cross_entropy(self.model(self.images[batch]) + noise, self.labels[batch])
        self.model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter, momentum in zip(self.model.parameters(), self.momenta, strict=True):
                momentum.mul_(0.9).add_(parameter.grad)
                parameter.sub_(0.1 * momentum)
        self.history["losses"].append(loss.item())
        self.history["best"] = min(self.history["best"], np.float64(loss.item()))

    def run(self, last: int) -> None:
        begin = resume_from_checkpointed_model(self.config, self.load)
        for level in range(begin + 1, last + 1):
            self.epoch()
            checkpoint_model_at_rung_level(self.config, self.save, level)


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in (constants.ENV_RUNG_LEVELS, constants.ENV_SEEN_LEVEL_FILE):
        monkeypatch.delenv(name, raising=False)


def test_interrupted_and_resumed_is_bit_identical(tmp_path):
    undisturbed = Training()
    undisturbed.run(9)
    for level in (2, 3, 7, 9):
        resumed = Training(tmp_path)
        resumed.run(level)
    assert resumed.history == undisturbed.history
    assert len(resumed.history["losses"]) == 9
    for mine, other in zip(resumed.model.parameters(), undisturbed.model.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_a_different_seed_is_different():
    """The test above would notice."""
    first, second = Training(), Training(seed=1)
    first.run(3)
    second.run(3)
    assert first.history != second.history


def test_generators_are_restored(tmp_path):
    counter = Counter()
    load, save = pytorch_load_save_functions({"counter": counter})
    save(str(tmp_path), 3)
    drawn = [torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random(), random.gauss(0, 1)]
    assert load(str(tmp_path)) == 3
    assert [torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random(), random.gauss(0, 1)] == drawn


def test_mutable_state_of_all_permitted_kinds(tmp_path):
    state = {
        "plain": [1, 2.5, "x", None, True, (1, 2), {"a": b"b"}],
        "scalar": np.float32(1.5),
        "array": np.arange(6, dtype=np.int16).reshape(2, 3),
        "words": np.array(["a", "bc"]),
        "tensor": torch.ones(2, dtype=torch.bfloat16),
        "ordered": collections.OrderedDict(a=1),
    }
    loaded = {"tensor": None, "later": 1}
    pytorch_load_save_functions({}, state)[1](str(tmp_path), 1)
    assert pytorch_load_save_functions({}, loaded)[0](str(tmp_path)) == 1
    assert loaded["later"] == 1
    assert loaded["plain"] == state["plain"]
    assert loaded["scalar"] == np.float32(1.5)
    assert (loaded["array"] == state["array"]).all()
    assert loaded["array"].dtype == np.int16
    assert loaded["words"].tolist() == ["a", "bc"]
    assert torch.equal(loaded["tensor"], state["tensor"])
    assert loaded["ordered"] == {"a": 1}


def test_what_only_code_could_load_is_refused_when_saving(tmp_path):
    _, save = pytorch_load_save_functions({}, {"culprit": Counter()})
    config = {constants.ST_CHECKPOINT_DIR: str(tmp_path)}
    with pytest.raises(CheckpointError, match="Counter"):
        checkpoint_model_at_rung_level(config, save, 1)
    assert list(tmp_path.iterdir()) == []


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (tmp_path.joinpath("pwned").touch, ())

    load, _ = pytorch_load_save_functions({})
    torch.save(
        {"resource": 1, "state_dicts": {}, "mutable_state": {"a": Evil()}, "rng": {}}, tmp_path / "checkpoint.pt"
    )
    with pytest.raises(CheckpointError, match="Cannot read"):
        load(str(tmp_path))
    assert not (tmp_path / "pwned").exists()


def test_nothing_there_is_0(tmp_path):
    counter = Counter()
    load, save = pytorch_load_save_functions({"counter": counter}, fname="deep/state.pt")
    assert load(str(tmp_path)) == 0
    save(str(tmp_path), 4)
    assert (tmp_path / "deep" / "state.pt").exists()
    assert load(str(tmp_path)) == 4


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no torch file",
        pickle.dumps({"st_resource": 1}, protocol=2),
    ],
)
def test_another_file_is_an_error(tmp_path, content):
    (tmp_path / "checkpoint.pt").write_bytes(content)
    load, _ = pytorch_load_save_functions({"counter": Counter()})
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt"):
        load(str(tmp_path))


@pytest.mark.parametrize("payload", [{}, [1], {"state_dicts": {"counter": {}}}, {"state_dicts": 3}])
def test_another_torch_file_is_an_error(tmp_path, payload):
    torch.save(payload, tmp_path / "checkpoint.pt")
    load, _ = pytorch_load_save_functions({"counter": Counter()})
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt"):
        load(str(tmp_path))


def test_other_names_are_refused_before_anything_is_loaded(tmp_path):
    first, second = Counter(), Counter()
    _, save = pytorch_load_save_functions({"first": first})
    first.count = 5
    save(str(tmp_path), 1)
    first.count = 0
    load, _ = pytorch_load_save_functions({"first": first, "second": second})
    with pytest.raises(CheckpointError, match=r"\['first'\], but the script wants \['first', 'second'\]"):
        load(str(tmp_path))
    assert first.count == 0


def test_another_shape_is_an_error_that_names_the_object(tmp_path):
    Training(tmp_path).run(1)
    changed = Training(tmp_path, units=9)
    with pytest.raises(CheckpointError, match=r"'model'.*refuses"):
        changed.run(2)
    assert (tmp_path / "00000001").exists()


def test_objects_without_state_are_refused():
    with pytest.raises(SpecError, match="'epoch' is a int"):
        pytorch_load_save_functions({"epoch": 3})


def test_gpu_states_load_on_a_machine_without(tmp_path):
    """A checkpoint of a machine with GPUs has their generators' states too."""
    counter = Counter()
    load, save = pytorch_load_save_functions({"counter": counter})
    save(str(tmp_path), 2)
    payload = torch.load(tmp_path / "checkpoint.pt", weights_only=False)
    payload["rng"]["cuda"] = [torch.get_rng_state()] * 64
    torch.save(payload, tmp_path / "checkpoint.pt")
    if torch.cuda.is_available():
        pytest.skip("for machines without GPU")
    assert load(str(tmp_path)) == 2


@pytest.mark.gpu
def test_on_a_gpu(tmp_path):
    torch.manual_seed(0)
    model = nn.Linear(4, 2).cuda()
    load, save = pytorch_load_save_functions({"model": model})
    save(str(tmp_path), 1)
    weights, drawn = model.weight.clone(), torch.rand(3, device="cuda")
    with torch.no_grad():
        model.weight.zero_()
    assert load(str(tmp_path)) == 1
    assert model.weight.is_cuda
    assert torch.equal(model.weight, weights)
    assert torch.equal(torch.rand(3, device="cuda"), drawn)
