# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests/bench/run and tests/bench/flushes are made of."""
