"""Which wheels a step's environment is made of: uv's resolution, one a step, for the step's interpreter and base."""
