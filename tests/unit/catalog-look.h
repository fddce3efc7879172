/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What tests ask the catalog's database itself, below its functions. */
#ifndef DISKGATE_TESTS_CATALOG_LOOK_H
#define DISKGATE_TESTS_CATALOG_LOOK_H

#include "core/catalog-priv.h"
#include "tests/unit/catalog-fixture.h"

/* The number that @sql gives. */
static inline int64_t count(struct fixture *f, const char *sql)
{
    int64_t n = -1;
    OK(f, db_number(f->c, sql, ARGS(), &n, &f->err));
    return n;
}

static inline void close_catalog(struct fixture *f)
{
    catalog_close(f->c);
    f->c = NULL;
}

#endif
