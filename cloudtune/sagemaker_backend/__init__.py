"""One SageMaker training job per trial, with few calls, and nothing lost whatever dies."""
