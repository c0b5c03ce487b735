# SPDX-License-Identifier: Apache-2.0
"""The long tests: `make soak SOAK_MINUTES=60`, each of them about as many minutes as it says.

A minute is enough to see that they work; what they look for shows itself in an hour.
"""

import os

import pytest

from t.support.environment import PATIENCE

MINUTES = float(os.environ.get("SOAK_MINUTES", "60"))


def marks(minutes):
    """The marks of a test that loads a server for `minutes`; it has as long again to settle."""
    return [pytest.mark.soak, pytest.mark.timeout((minutes * 60 * 2 + 240) * PATIENCE)]
