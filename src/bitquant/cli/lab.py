"""`bitquant lab`: start the server of the page, and a browser."""

from __future__ import annotations

import os
import sys
import webbrowser

from bitquant.cli.show import Screen
from bitquant.lab import Lab


def run(port: int, open_browser: bool) -> None:
    """Serve until Ctrl-C."""
    lab = Lab(port)
    Screen().line("bitquant lab: ", (lab.url, "bold"), " (Ctrl-C ends it)")
    sys.stdout.flush()
    if open_browser and _has_screen():
        webbrowser.open(lab.url)
    try:
        lab.serve()
    except KeyboardInterrupt:
        Screen().line("ended")


def _has_screen() -> bool:
    """Whether a browser would have a window, and not take over the terminal."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


__all__ = ["run"]
