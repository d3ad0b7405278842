"""Command lines that run experiments (``hpo_main_*``), or launch SageMaker jobs that do (``launch_remote_*``).

``*_local``: trials share the tuner's machine; ``*_sagemaker``: each has a training job of its own.
"""
