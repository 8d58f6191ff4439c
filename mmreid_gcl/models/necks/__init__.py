# SPDX-License-Identifier: Apache-2.0
"""Necks: embedding and graph correlation."""
