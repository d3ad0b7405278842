"""Parts of the mlp_digits script, against the libraries whose import it avoids."""

from __future__ import annotations

import runpy

import pytest

from cloudtune.experiments.benchmark_definitions import mlp_digits_benchmark

torch = pytest.importorskip("torch")
datasets = pytest.importorskip("sklearn.datasets")


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(mlp_digits_benchmark().script))


def test_the_data_are_those_of_scikit_learn(script):
    images, labels = script["load_digits"]()
    expected_images, expected_labels = datasets.load_digits(return_X_y=True)
    assert torch.equal(images, torch.tensor(expected_images / 16, dtype=torch.float32))
    assert labels.tolist() == expected_labels.tolist()


def test_the_split_is_fixed_and_disjoint(script):
    images, labels = torch.arange(1797.0)[:, None], torch.arange(1797)
    train, validation = script["split"](images, labels)
    again, _ = script["split"](images, labels)
    assert torch.equal(train[1], again[1])
    assert (len(train[1]), len(validation[1])) == (1347, 450)
    assert sorted(train[1].tolist() + validation[1].tolist()) == list(range(1797))
    assert torch.equal(train[0][:, 0].long(), train[1])


def test_the_optimizer_is_that_of_torch(script):
    def train(make):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 2)).double()
        optimizer = make(model.parameters())
        for _ in range(20):
            model.zero_grad()
            model(torch.randn(8, 5).double()).square().sum().backward()
            optimizer.step()
        return torch.cat([parameter.flatten() for parameter in model.parameters()])

    ours = train(lambda parameters: script["AdamW"](parameters, lr=0.03, weight_decay=0.5))
    theirs = train(lambda parameters: torch.optim.AdamW(parameters, lr=0.03, weight_decay=0.5))
    assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-12)
