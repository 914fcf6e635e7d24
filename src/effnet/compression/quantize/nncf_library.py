"""NNCF, imported so that it sends no reports."""

import sys
from importlib import import_module
from typing import Any

from effnet.extras import require

PURPOSE = "quantize networks"
REPORTER = "openvino_telemetry"
"""The package by which NNCF reports to its makers how it is used."""


def nncf() -> Any:
    """Import NNCF so that it sends no reports.

    Raises:
        ResourceError: it is not installed.
    """
    # It makes its reporter as it is imported, so that must not be found until then.
    missing = object()
    before: Any = sys.modules.get(REPORTER, missing)
    sys.modules[REPORTER] = None  # type: ignore[assignment]
    try:
        library = require("nncf", PURPOSE)
    finally:
        del sys.modules[REPORTER]
        if before is not missing:
            sys.modules[REPORTER] = before
    # Others may have imported it before.
    wrapper = import_module("nncf.telemetry.wrapper")
    decorator: Any = import_module("nncf.telemetry.decorator")
    decorator.telemetry = wrapper.NNCFTelemetryStub()
    return library
