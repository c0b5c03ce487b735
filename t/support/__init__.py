# SPDX-License-Identifier: Apache-2.0
"""What the tests share: real servers, an exact HTTP client, load, a browser."""
