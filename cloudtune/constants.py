"""Names that cross a process border: keys in reports and configurations, environment variables, column names."""

from __future__ import annotations

# Keys that Reporter adds to each report.
ST_WORKER_TIMESTAMP = "st_worker_timestamp"
ST_WORKER_TIME = "st_worker_time"
ST_WORKER_ITER = "st_worker_iter"
ST_WORKER_COST = "st_worker_cost"

# Arguments that a training script may be called with besides its hyperparameters.
ST_CHECKPOINT_DIR = "st_checkpoint_dir"
ST_CONFIG_JSON_FNAME_ARG = "st_config_json_filename"
ST_INSTANCE_TYPE = "st_instance_type"
ST_INSTANCE_COUNT = "st_instance_count"
RESERVED_PREFIX = "st_"

# Columns of results that the tuner adds.
ST_DECISION = "st_decision"
ST_STATUS = "st_status"
ST_TUNER_TIME = "st_tuner_time"

# Files of one experiment.
ST_RESULTS_DATAFRAME_FILENAME = "results.csv.zip"
ST_METADATA_FILENAME = "metadata.json"
ST_TUNER_DILL_FILENAME = "tuner.dill"

# Environment of the tuner.
ENV_FOLDER = "CLOUDTUNE_FOLDER"
#: A file of prices that go before those of the package: see :mod:`cloudtune.instance_prices`.
ENV_PRICES = "CLOUDTUNE_PRICES"

# Environment of a trial, set by its backend.
ENV_TRIAL_ID = "CLOUDTUNE_TRIAL_ID"
ENV_ATTEMPT = "CLOUDTUNE_ATTEMPT"
#: Comma-separated resource levels at which the scheduler may pause or resume the trial. Absent: every level.
ENV_RUNG_LEVELS = "CLOUDTUNE_RUNG_LEVELS"
#: Seconds after which a checkpoint is written although the level is no rung level (default 60).
ENV_CHECKPOINT_INTERVAL_S = "CLOUDTUNE_CHECKPOINT_INTERVAL_S"
#: File that holds the highest resource level whose report the tuner has safely recorded; a resumed trial
#: starts from the newest checkpoint at or below it, so that no report can be lost between the two.
ENV_SEEN_LEVEL_FILE = "CLOUDTUNE_SEEN_LEVEL_FILE"
#: US dollars per hour of the whole job, for ``st_worker_cost``.
ENV_PRICE_PER_HOUR = "CLOUDTUNE_PRICE_PER_HOUR"

#: A tuner's and a job's name, as SageMaker has it.
NAME_PATTERN = r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"
MAX_NAME_LENGTH = 63
