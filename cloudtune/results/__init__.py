"""Results of an experiment: one row a report."""
