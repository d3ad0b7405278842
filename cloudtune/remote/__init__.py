"""Tuning inside a SageMaker training job."""
