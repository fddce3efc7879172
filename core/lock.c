/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The per-thread note of ranks held; see lock.h for the table. */
#include "core/lock.h"

#ifndef NDEBUG
_Thread_local unsigned lock_ranks_held;
#endif
