# SPDX-License-Identifier: Apache-2.0
"""Between backbone and head."""
