/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Exit statuses; see code.h. */
#include "backup/code.h"

#include <errno.h>

int backup_exit_status(int code)
{
    switch (code) {
    case -ENOMEDIUM:
        return BACKUP_EXIT_NO_REPOSITORY;
    case -EBUSY:
        return BACKUP_EXIT_LOCKED;
    case -EKEYREJECTED:
        return BACKUP_EXIT_SIGNATURE;
    case -EBADMSG:
        return BACKUP_EXIT_DAMAGE;
    case -ENOSPC:
    case -EDQUOT:
    case -EFBIG:
        return BACKUP_EXIT_NO_SPACE;
    case -EINTR:
        return BACKUP_EXIT_INTERRUPTED;
    default:
        return 1;
    }
}
