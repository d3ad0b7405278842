"""Decides what to try next: schedulers and searchers. Pure: no clock, no I/O, no global random state."""
