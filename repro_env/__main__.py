"""`python -m repro_env` is the `repro` command."""

from repro_env.cli.main import main

if __name__ == "__main__":
    main()
