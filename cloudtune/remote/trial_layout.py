"""What a trial's job finds where: the contract between SageMakerBackend and the supervisor inside.

Code archive, its channel, and folders are those of :mod:`cloudtune.remote.job_layout`. Standard library alone.
"""

from __future__ import annotations

from cloudtune.remote import job_layout as layout

#: S3 prefix for the job's reports (see :mod:`cloudtune.report_stream`), label included.
ENV_REPORTS_URI = "CLOUDTUNE_REPORTS_URI"
#: Key of the resource level in reports; absent: there is none.
ENV_RESOURCE_ATTR = "CLOUDTUNE_RESOURCE_ATTR"
#: Highest resource level of the trial that the tuner has recorded when the attempt begins. With a resource
#: attribute, the supervisor keeps a file ``ENV_SEEN_LEVEL_FILE`` for the script that starts with this level and
#: follows what S3 has confirmed.
ENV_SEEN_LEVEL = "CLOUDTUNE_SEEN_LEVEL"
#: When the tuner recorded the trial, seconds by its own clock, as written in the journal: by this it knows its own
#: jobs again, however wrong its clock is.
ENV_TRIAL_BEGUN = "CLOUDTUNE_TRIAL_BEGUN"
#: ``1``: the configuration is passed as a file, ``--st_config_json_filename``.
ENV_CONFIG_AS_JSON = "CLOUDTUNE_CONFIG_AS_JSON"
#: Folder of the script in the code archive; the script runs there.
SCRIPT_FOLDER = "script"
#: The supervisor, in the code archive. ``layout.ENV_COMMAND`` (a JSON list) says what it runs: words of which the
#: first is a Python script relative to :data:`SCRIPT_FOLDER` or a program. The job's hyperparameters follow as
#: ``--name value``, with ``--st_checkpoint_dir``.
SUPERVISOR = "cloudtune/remote/trial_supervisor.py"

#: As :data:`layout.ENTRYPOINT`, with the other supervisor as process 1.
ENTRYPOINT = tuple(part.replace("cloudtune/remote/supervisor.py", SUPERVISOR) for part in layout.ENTRYPOINT)
