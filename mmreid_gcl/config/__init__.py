# SPDX-License-Identifier: Apache-2.0
"""Configs: finding, reading and checking them."""
