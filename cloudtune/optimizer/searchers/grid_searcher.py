"""Grid search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cloudtune.config_space import Categorical, Domain, FiniteRange
from cloudtune.errors import SpecError
from cloudtune.optimizer.scheduler import generator
from cloudtune.optimizer.searchers.pool import Pool
from cloudtune.optimizer.searchers.product import Axis, ListAxis, Product, axis_of
from cloudtune.optimizer.searchers.searcher import Candidates
from cloudtune.optimizer.seed import Seed
from cloudtune.trial import Config, Metrics, Outcome

#: Values per numerical hyperparameter for which ``num_samples`` gives no number.
DEFAULT_NUM_SAMPLES = 5
_MAX_GRID = 2**62


class GridSearcher:
    """Suggests the points of a grid, each once.

    Categorical, ordinal and finite-range hyperparameters contribute all their values. A numerical one contributes
    ``n`` values, at ``(i + 0.5) / n`` of its range as the domain scales it (in the logarithm, for instance).

    Args:
        config_space: Domains and constants by name.
        points_to_evaluate: Suggested first, in order, partial ones completed. None for the middle of the space,
            ``[]`` for none.
        random_seed: None draws one.
        num_samples: ``n`` by numerical hyperparameter, 5 where it gives none; never more than there are values.
        shuffle_config: Random order; False for that of the Cartesian product, the last hyperparameter varying
            fastest.
        allow_duplicates: Grid points are suggested although they were points to evaluate, and the grid begins anew
            when it is exhausted.
    """

    def __init__(
        self,
        config_space: Mapping[str, Any],
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        random_seed: int | None = None,
        num_samples: Mapping[str, int] | None = None,
        shuffle_config: bool = True,
        allow_duplicates: bool = False,
    ) -> None:
        self._candidates = Candidates(config_space, points_to_evaluate)
        self.config_space = self._candidates.config_space
        self._seed = Seed(random_seed)
        self.shuffle_config = shuffle_config
        self.allow_duplicates = allow_duplicates
        numbers = _check_num_samples(num_samples or {}, self._candidates.domains)
        self._grid = Product(
            {name: _grid_axis(domain, numbers[name]) for name, domain in self._candidates.domains.items()}
        )
        if self._grid.size > _MAX_GRID:
            raise SpecError(f"The grid has {self._grid.size} points.", "Lower num_samples, or use random search.")
        self._left = Pool(self._grid.size)
        #: All points of the grid with a smaller number are taken.
        self._first = 0

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
        if not len(self._left):
            return None
        number = self._first
        if self.shuffle_config:
            rng = generator(self._seed.value, trial_id, stream="shuffle")
            number = self._left[int(rng.integers(len(self._left)))]
        return self._candidates.complete(self._grid.values(number))

    def on_start(self, trial_id: int, config: Config) -> None:
        self._seed.in_use = True
        is_point = self._candidates.next_point() is not None
        self._candidates.on_start(config)
        number = self._grid.number(config)
        if number is None or (is_point and self.allow_duplicates):
            return
        self._left.take(number)
        while self._first < self._grid.size and self._first not in self._left:
            self._first += 1
        if self.allow_duplicates and not len(self._left):
            self._left, self._first = Pool(self._grid.size), 0

    def on_report(self, trial_id: int, config: Config, metrics: Metrics) -> None:
        """Grid search does not learn."""

    def on_end(self, trial_id: int, config: Config, outcome: Outcome) -> None:
        """Grid search does not learn."""

    def metadata(self) -> dict[str, Any]:
        return {
            "searcher": "grid",
            "grid_size": self._grid.size,
            "shuffle_config": self.shuffle_config,
            "allow_duplicates": self.allow_duplicates,
            "points_to_evaluate": self._candidates.points_to_evaluate,
        }


def _check_num_samples(num_samples: Mapping[str, int], domains: Mapping[str, Domain]) -> dict[str, int]:
    for name, number in num_samples.items():
        if name not in domains:
            raise SpecError(
                f"num_samples names {name!r}, which is no hyperparameter of config_space.",
                f"Hyperparameters: {', '.join(domains)}.",
            )
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise SpecError(f"num_samples[{name!r}]={number!r} must be an integer of at least 1.")
    return {name: num_samples.get(name, DEFAULT_NUM_SAMPLES) for name in domains}


def _grid_axis(domain: Domain, number: int) -> Axis:
    every = axis_of(domain)
    if every is not None and (isinstance(domain, Categorical | FiniteRange) or number >= len(domain)):
        return every
    return ListAxis(domain, [domain.from_unit((i + 0.5) / number) for i in range(number)])
