"""Experiments that run, or should not run any more: what they do, what they cost, stopped, resumed, cleaned up.

Wherever their tuner and their trials are: here, in a SageMaker job, or trial by trial in jobs of their own. The
commands of :mod:`cloudtune.cli` show what is done here.
"""
