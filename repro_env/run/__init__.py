"""One execution of a step: planned in pure code, started by a runtime."""
