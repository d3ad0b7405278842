"""Jobs and their instances: states, quotas, launches, warm pools, and what runs when."""
