"""Random search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cloudtune.config_space import check_restricted, sample_configuration
from cloudtune.optimizer.scheduler import generator
from cloudtune.optimizer.searchers.pool import Pool
from cloudtune.optimizer.searchers.product import Product, axis_of
from cloudtune.optimizer.searchers.searcher import Candidates
from cloudtune.optimizer.seed import Seed
from cloudtune.trial import Config, Metrics, Outcome

#: Draws that may turn out to have been tried already, before the remaining configurations are enumerated, ...
_DRAWS_FINITE = 20
#: ... or, where they cannot be, before the space counts as exhausted.
_DRAWS = 1000
#: Larger finite spaces are treated as infinite.
_MAX_ENUMERABLE = 2**62


class RandomSearcher:
    """Draws configurations independently, each hyperparameter as its domain says.

    Without duplicates, a finite space is exhausted after as many suggestions as it has configurations; then the
    suggestion is None.

    Args:
        config_space: Domains and constants by name.
        points_to_evaluate: Suggested first, in order, partial ones completed. None for the middle of the space,
            ``[]`` for none.
        random_seed: None draws one.
        allow_duplicates: A configuration may be suggested again.
        restrict_configurations: Only these are suggested (points to evaluate that are not among them are
            dropped), all equally likely.
    """

    def __init__(
        self,
        config_space: Mapping[str, Any],
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        random_seed: int | None = None,
        allow_duplicates: bool = False,
        restrict_configurations: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        self._candidates = Candidates(config_space, points_to_evaluate)
        self.config_space = self._candidates.config_space
        self._seed = Seed(random_seed)
        self.allow_duplicates = allow_duplicates
        self._source: _AllConfigurations | _ListedConfigurations
        if restrict_configurations is None:
            self._source = _AllConfigurations(self._candidates)
        else:
            self._source = _ListedConfigurations(self._candidates, restrict_configurations)

    @property
    def random_seed(self) -> int:
        return self._seed.value

    @property
    def random_seed_given(self) -> bool:
        return self._seed.given

    def reseed(self, random_seed: int) -> None:
        self._seed.replace(random_seed)

    def suggest(self, trial_id: int) -> Config | None:
        point = self._candidates.next_point()
        if point is not None:
            return point
        rng = generator(self._seed.value, trial_id)
        return self._source.draw(rng) if self.allow_duplicates else self._source.draw_new(rng)

    def on_start(self, trial_id: int, config: Config) -> None:
        self._seed.in_use = True
        self._candidates.on_start(config)
        self._source.take(config)

    def on_report(self, trial_id: int, config: Config, metrics: Metrics) -> None:
        """Random search does not learn."""

    def on_end(self, trial_id: int, config: Config, outcome: Outcome) -> None:
        """Random search does not learn."""

    def metadata(self) -> dict[str, Any]:
        return {
            "searcher": "random",
            "allow_duplicates": self.allow_duplicates,
            "points_to_evaluate": self._candidates.points_to_evaluate,
        }


class _AllConfigurations:
    """All configurations of the space, each as likely as its domains make it."""

    def __init__(self, candidates: Candidates) -> None:
        self._candidates = candidates
        axes = {name: axis_of(domain) for name, domain in candidates.domains.items()}
        finite = {name: axis for name, axis in axes.items() if axis is not None}
        product = Product(finite)
        self._product = product if len(finite) == len(axes) and product.size <= _MAX_ENUMERABLE else None
        self._left = Pool(product.size if self._product is not None else 0)

    def draw(self, rng: np.random.Generator) -> Config:
        return sample_configuration(self._candidates.config_space, rng)

    def draw_new(self, rng: np.random.Generator) -> Config | None:
        if self._product is not None and not len(self._left):
            return None
        for _ in range(_DRAWS if self._product is None else _DRAWS_FINITE):
            config = self.draw(rng)
            if self._candidates.is_new(config):
                return config
        if self._product is None:
            return None
        number = self._left[int(rng.integers(len(self._left)))]
        return self._candidates.complete(self._product.values(number))

    def take(self, config: Config) -> None:
        number = None if self._product is None else self._product.number(config)
        if number is not None:
            self._left.take(number)


class _ListedConfigurations:
    """The configurations of a list, all equally likely."""

    def __init__(self, candidates: Candidates, configurations: Sequence[Mapping[str, Any]]) -> None:
        checked = check_restricted(configurations, candidates.config_space)
        candidates.restrict_points(checked)
        self._key = candidates.key
        self._configurations = {self._key(config): candidates.complete(config) for config in checked}
        self._all = list(self._configurations.values())
        self._number = {key: number for number, key in enumerate(self._configurations)}
        self._left = Pool(len(self._all))

    def draw(self, rng: np.random.Generator) -> Config:
        return dict(self._all[int(rng.integers(len(self._all)))])

    def draw_new(self, rng: np.random.Generator) -> Config | None:
        if not len(self._left):
            return None
        return dict(self._all[self._left[int(rng.integers(len(self._left)))]])

    def take(self, config: Config) -> None:
        number = self._number.get(self._key(config))
        if number is not None:
            self._left.take(number)
