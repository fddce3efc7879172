# SPDX-License-Identifier: GPL-2.0-or-later
"""What the system tests share: a root of their own (root), a real initiator (iscsi), files and images (files)."""
