"""Searchers choose configurations for new trials."""

from cloudtune.optimizer.searchers.grid_searcher import GridSearcher
from cloudtune.optimizer.searchers.random_searcher import RandomSearcher
from cloudtune.optimizer.searchers.searcher import Searcher

__all__ = ["GridSearcher", "RandomSearcher", "Searcher"]
