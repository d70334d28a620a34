"""The `bitquant` command: arguments and printing only; all figures come from the rooms below."""

import sys

__all__ = ["main"]

_NEEDED = ("typer", "rich", "click")


def main() -> None:
    """Run the `bitquant` command on the arguments of the process.

    Without the `cli` extra installed it says so in one line and exits with status 2.
    """
    try:
        import rich  # noqa: F401  (typer runs without it, the commands do not)

        from bitquant.cli.app import app
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in _NEEDED:
            raise
        print("bitquant: the command line needs typer and rich: pip install 'bitquant[cli]'", file=sys.stderr)
        raise SystemExit(2) from None
    app(prog_name="bitquant")
