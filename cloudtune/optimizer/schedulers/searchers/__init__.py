"""The searchers, under the name by which users of Syne Tune import them."""

from cloudtune.optimizer.searchers.grid_searcher import GridSearcher
from cloudtune.optimizer.searchers.random_searcher import RandomSearcher
from cloudtune.optimizer.searchers.searcher import Searcher

__all__ = ["GridSearcher", "RandomSearcher", "Searcher"]
