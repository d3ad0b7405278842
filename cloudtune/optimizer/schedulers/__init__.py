"""The schedulers."""

from cloudtune.optimizer.schedulers.fifo import FIFOScheduler
from cloudtune.optimizer.schedulers.hyperband import HyperbandScheduler
from cloudtune.optimizer.schedulers.successive_halving import SuccessiveHalvingScheduler

__all__ = ["FIFOScheduler", "HyperbandScheduler", "SuccessiveHalvingScheduler"]
