# SPDX-License-Identifier: Apache-2.0
from tests.threads import one_thread  # noqa: F401
