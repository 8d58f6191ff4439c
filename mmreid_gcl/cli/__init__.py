# SPDX-License-Identifier: Apache-2.0
"""What a user calls from a shell."""
