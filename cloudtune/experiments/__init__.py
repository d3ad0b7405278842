"""Experiments to run as they are: benchmarks, methods, launching."""
