# SPDX-License-Identifier: Apache-2.0
"""Tests by HTTP, against real Apaches."""
