"""`python -m holdall`: the command `holdall`, a program that was installed with this package."""

from __future__ import annotations

import signal

# There is nothing to end in order before the program runs; and it takes no traceback to say so.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import os
import sys
import sysconfig
from pathlib import Path


def find() -> Path | None:
    """The program: beside this interpreter, in the user's scheme, or where pip put `--target`."""
    schemes = [sysconfig.get_path("scripts")]
    user = sysconfig.get_preferred_scheme("user")
    schemes.append(sysconfig.get_path("scripts", scheme=user))
    schemes.append(str(Path(__file__).parents[1] / "bin"))
    places = (Path(scheme) / "holdall" for scheme in schemes)
    return next((place for place in places if place.is_file()), None)


def main() -> None:
    """Becomes the program; returns only where there is none."""
    program = find()
    if program is None:
        sys.exit("error: the program holdall is not here; install the package again with pip")
    # What needs Python, such as writing a joblib file, is asked of this interpreter.
    os.environ["HOLDALL_PYTHON"] = sys.executable
    os.execv(program, [str(program), *sys.argv[1:]])


if __name__ == "__main__":
    main()
