"""Search spaces: what hyperparameters can be, how they are drawn, encoded, checked and stored.

A space is a dictionary from names to domains (``loguniform(1e-4, 1e-1)``, ``choice(["adam", "sgd"])``, frozen
distributions of ``scipy.stats``) and constants, which are passed to every trial.
"""

from __future__ import annotations

from cloudtune.config_space.arguments import add_to_argparse
from cloudtune.config_space.constructors import (
    choice,
    finrange,
    is_log_space,
    is_reverse_log_space,
    is_uniform_space,
    logfinrange,
    logordinal,
    lograndint,
    loguniform,
    ordinal,
    qlograndint,
    qloguniform,
    qrandint,
    quniform,
    randint,
    restrict_domain,
    reverseloguniform,
    uniform,
)
from cloudtune.config_space.distribution import Distribution
from cloudtune.config_space.domain import Domain
from cloudtune.config_space.encoding import HyperparameterRanges
from cloudtune.config_space.finite import Categorical, FiniteRange, Ordinal, OrdinalNearestNeighbor
from cloudtune.config_space.numeric import Float, Integer
from cloudtune.config_space.points import check_restricted, impute_points_to_evaluate
from cloudtune.config_space.serialize import (
    config_space_from_json_dict,
    config_space_to_json_dict,
    from_dict,
    to_dict,
)
from cloudtune.config_space.space import (
    as_domain,
    cast_config_values,
    config_space_size,
    config_to_match_string,
    non_constant_hyperparameter_keys,
    normalise_config_space,
    sample_configuration,
)
from cloudtune.config_space.streamline import streamline_config_space

__all__ = [
    "Categorical",
    "Distribution",
    "Domain",
    "FiniteRange",
    "Float",
    "HyperparameterRanges",
    "Integer",
    "Ordinal",
    "OrdinalNearestNeighbor",
    "add_to_argparse",
    "as_domain",
    "cast_config_values",
    "check_restricted",
    "choice",
    "config_space_from_json_dict",
    "config_space_size",
    "config_space_to_json_dict",
    "config_to_match_string",
    "finrange",
    "from_dict",
    "impute_points_to_evaluate",
    "is_log_space",
    "is_reverse_log_space",
    "is_uniform_space",
    "logfinrange",
    "logordinal",
    "lograndint",
    "loguniform",
    "non_constant_hyperparameter_keys",
    "normalise_config_space",
    "ordinal",
    "qlograndint",
    "qloguniform",
    "qrandint",
    "quniform",
    "randint",
    "restrict_domain",
    "reverseloguniform",
    "sample_configuration",
    "streamline_config_space",
    "to_dict",
    "uniform",
]
