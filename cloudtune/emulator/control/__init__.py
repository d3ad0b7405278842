"""SageMaker's control plane, and what else clients ask on the way: requests checked and answered."""
