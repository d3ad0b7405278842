"""Where users of Syne Tune look for what is in ``cloudtune.sagemaker_backend``."""
