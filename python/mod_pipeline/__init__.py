# SPDX-License-Identifier: Apache-2.0
"""Apache httpd as an application server for Python."""

__version__ = "0.1.0"
