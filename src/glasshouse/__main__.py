"""`python -m glasshouse`: the command line, for launchers that start Python modules."""

from glasshouse.cli import main

if __name__ == "__main__":
    main()
