"""`python -m bitquant` is the `bitquant` command."""

from bitquant.cli import main

if __name__ == "__main__":
    main()
