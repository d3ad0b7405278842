"""Hyperparameter tuning on Amazon SageMaker: nothing lost when a process, an instance or a zone dies."""
