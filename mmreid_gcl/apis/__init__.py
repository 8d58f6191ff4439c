# SPDX-License-Identifier: Apache-2.0
"""What a user calls from Python."""

from .config import load_config

__all__ = ['load_config']
