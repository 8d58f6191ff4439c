# SPDX-License-Identifier: Apache-2.0
"""The PK sampler and the index it draws."""
