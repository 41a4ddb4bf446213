"""`python -m lab.image`: make the images of the lab's hosts. It needs no package, so it can run while those are installed."""

from __future__ import annotations

import sys

from lab.engine import EngineError
from lab.image import build
from lab.settings import SettingsError, load


def main() -> int:
    """Make those that the lab's settings ask for."""
    try:
        settings = load()
        for wanted in [settings.image] if settings.image else settings.releases:
            print(build(wanted))
    except (EngineError, SettingsError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
