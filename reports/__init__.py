"""Figures, tables and the page, as pure functions of run folders."""

import contextlib as _contextlib
import os as _os
import sys as _sys

if _os.environ.get("MPLBACKEND") and "matplotlib" not in _sys.modules:
    # A backend that matplotlib does not know, left by another project, fails its import. We draw without any, so
    # matplotlib is imported without the variable, and then gets a backend that it does know.
    _backend = _os.environ.pop("MPLBACKEND")
    try:
        import matplotlib as _matplotlib
    finally:
        _os.environ["MPLBACKEND"] = _backend
    with _contextlib.suppress(ValueError):
        _matplotlib.rcParams["backend"] = _backend
