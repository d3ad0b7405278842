"""Instance types and versions of images, where scripts written for Syne Tune look for them."""

DEFAULT_CPU_INSTANCE = "ml.c5.4xlarge"
DEFAULT_CPU_INSTANCE_SMALL = "ml.m5.large"
DEFAULT_GPU_INSTANCE_1GPU = "ml.g4dn.xlarge"
DEFAULT_GPU_INSTANCE_4GPU = "ml.g4dn.12xlarge"
#: The newest PyTorch image that the package knows without a SageMaker SDK.
PYTORCH_LATEST_FRAMEWORK = "2.8.0"
PYTORCH_LATEST_PY_VERSION = "py312"
