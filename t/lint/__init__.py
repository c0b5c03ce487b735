# SPDX-License-Identifier: Apache-2.0
"""Checks of our own sources that no ready-made tool knows: who includes whom, and sizes."""
