"""Command lines that run experiments: here (``hpo_main_local``) or as SageMaker jobs (``launch_remote_local``)."""
