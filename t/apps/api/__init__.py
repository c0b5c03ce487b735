# SPDX-License-Identifier: Apache-2.0
"""The wiki as JSON: a Flask application, mounted beside the wiki and on the same database."""
