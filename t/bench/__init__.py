# SPDX-License-Identifier: Apache-2.0
"""The benchmarks: this server and this storage beside their peers, on one machine, interleaved."""
