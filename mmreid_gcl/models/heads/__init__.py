# SPDX-License-Identifier: Apache-2.0
"""Heads: losses and memories."""
