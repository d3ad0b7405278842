"""Regular expressions by which the SageMaker console reads numbers from a Reporter's lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from cloudtune.report import TAG

# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_AlgorithmSpecification.html
MAX_DEFINITIONS = 40
_MAX_REGEX = 500
_MAX_NAME = 255
#: A whole number of JSON or Python, NaN and infinity included.
_NUMBER = r"([-+]?(?:[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|[nN]a[nN]|[iI]nf(?:inity)?))"
# What may stand before a key: strings are stepped over as a whole, and so are dictionaries, so that a name inside
# of them is not taken for a metric. Each part begins with another character: there is one way to match, and no
# backtracking worth mentioning.
_STRING = r'"[^"\\]*(?:\\.[^"\\]*)*"'
_FLAT = rf'[^{{}}"]*(?:{_STRING}[^{{}}"]*)*'
_BEFORE = rf'[^{{}}"]*(?:(?:{_STRING}|\{{{_FLAT}\}})[^{{}}"]*)*'


def console_metrics(names: Iterable[str]) -> dict[str, str]:
    """Name of each metric to the regular expression that finds its value in the line of a report. As many as a job
    may have; names that are too long for the service are left out."""
    found = {name: _regex(name) for name in dict.fromkeys(names) if 0 < len(name) <= _MAX_NAME}
    fitting = [(name, regex) for name, regex in found.items() if len(regex) <= _MAX_REGEX]
    return dict(fitting[:MAX_DEFINITIONS])


def _regex(name: str) -> str:
    return f"{_escape(TAG)}\\{{{_BEFORE}{_escape(json.dumps(name))}: {_NUMBER}"


def _escape(text: str) -> str:
    """As in most dialects: Python's own escapes spaces, too, which some take for an error."""
    return re.escape(text).replace("\\ ", " ")
