# SPDX-License-Identifier: Apache-2.0
"""The command line: shared arguments, and the command ``mmreid``."""
