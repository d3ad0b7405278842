"""What travels with trials: this package, the script's folder, packages it needs, merged requirements."""

from __future__ import annotations

from pathlib import Path

from cloudtune.aws.code_archive import CodeArchive, build_archive, import_name
from cloudtune.aws.requirements import RequirementsText, merge_requirements
from cloudtune.remote import job_layout as layout
from cloudtune.remote import trial_layout
from cloudtune.remote.tuning_job import BOTO3, package_folder
from cloudtune.sagemaker_backend.template import TrialTemplate


def build_trial_archive(template: TrialTemplate) -> CodeArchive:
    """Everything that the job of a trial needs; the same for all of them.

    Raises:
        SpecError: Something is missing, too large, or contradicts itself.
    """
    own = RequirementsText("cloudtune", BOTO3)  # all that the supervisor needs
    return build_archive(
        [
            (package_folder(), "cloudtune"),
            (template.source_dir, trial_layout.SCRIPT_FOLDER),
            (merge_requirements([own, *_requirement_files(template)]).encode(), layout.REQUIREMENTS),
            # Beside the script, where its author expects the files in them.
            *((path, f"{trial_layout.SCRIPT_FOLDER}/{import_name(path)}") for path in template.dependencies),
        ]
    )


def _requirement_files(template: TrialTemplate) -> list[Path]:
    pattern = template.requirements
    folders = dict.fromkeys([template.source_dir, *template.dependencies])
    return [] if pattern is None else [file for folder in folders for file in sorted(folder.glob(pattern))]
