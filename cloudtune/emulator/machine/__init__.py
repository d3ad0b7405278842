"""What a job runs in: files, processes, shares of this machine, logs, checkpoints."""
