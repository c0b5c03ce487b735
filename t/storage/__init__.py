# SPDX-License-Identifier: Apache-2.0
"""Tests of the storage, as ZODB and as RelStorage see it."""
