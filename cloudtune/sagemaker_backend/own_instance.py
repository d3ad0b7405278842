"""The instance that a tuner in a job of its own keeps busy, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

from cloudtune.experiment.ports import CostSeen
from cloudtune.remote import job_layout as layout
from cloudtune.sagemaker_backend.billing import TUNER_INSTANCE, Rate, instance_bill


@dataclass(frozen=True)
class OwnInstance:
    """An instance of that rate, in use since ``since`` (seconds since the epoch)."""

    rate: Rate
    since: float

    @classmethod
    def of_job(cls, environ: Mapping[str, str], region: str) -> OwnInstance | None:
        """The instance of the tuning job whose environment this is; None on other machines, and where the price is
        not known."""
        if layout.ENV_TUNER_INSTANCE not in environ or layout.ENV_TUNER_SINCE not in environ:
            return None
        instance_type, _, spot = environ[layout.ENV_TUNER_INSTANCE].partition(" ")
        rate = Rate.of(instance_type, 1, bool(spot), region)
        return None if rate is None else cls(rate, float(environ[layout.ENV_TUNER_SINCE]))

    def cost(self, now: float) -> CostSeen:
        """Until now, an estimate. After an interruption the tuner has another instance, which is counted apart."""
        return instance_bill(self.rate, self.since, now).fact(instance_source(self.since))


def instance_source(since: float) -> str:
    """As what the cost of an instance is recorded that the tuner has had since then; these sort by time."""
    return f"{TUNER_INSTANCE} since {datetime.fromtimestamp(since, tz=timezone.utc):%Y-%m-%d %H:%M:%S}"
