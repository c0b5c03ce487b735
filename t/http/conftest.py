# SPDX-License-Identifier: Apache-2.0
"""What is collected in this folder."""

from t.support import environment

# The demo runs the plain build, which a sanitized run neither makes nor is about.
collect_ignore = ["test_demo.py"] if environment.SANITIZE else []
