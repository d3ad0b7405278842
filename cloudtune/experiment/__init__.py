"""The heart: an experiment is a journal of facts, and a pure core that says what to do next."""
