/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The store "diskgate" of a LUN: tgtd's own store "rdwr", but that a read of what lies in memory is answered at once.
 *
 * The library is loaded by LD_PRELOAD into a tgtd, and does nothing in any other program. Each function of the store hands on to rdwr's; only
 * reads that reader_read() answers never get there. For a tgtd they are done when submit() returns. What is not certain makes a LUN one of rdwr.
 *
 * Nothing is kept in tgtd's structs: LUNs are found by their address, so a command that does not name one that we know is left to rdwr.
 */
#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdio.h>
#include <string.h>

#include "core/util.h"
#include "fusefs/tgt/abi.h"
#include "fusefs/tgt/reader.h"

#define STORE_NAME "diskgate"
#define SOCKET_ENV "DISKGATE_DIRECT_SOCKET"
#define LUN_BYTES  4096 /* room for what rdwr keeps behind a LUN; rdwr is not there yet when ours is registered */

struct lun {
    const struct tgt_lun *key;
    struct reader *reader; /* NULL: it is read as rdwr does */
};

static struct {
    const struct tgt_store *rdwr; /* NULL until it was looked at */
    char *socket;                 /* NULL: nobody to ask */
    void *luns;                   /* tsearch() */
    int told;                     /* why the last LUN was not opened, an errno; each reason is told once in a row */
} state;

static struct tgt_store store;

/* --- LUNs -------------------------------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    const struct lun *x = a, *y = b;
    return x->key < y->key ? -1 : x->key > y->key;
}

static struct lun *find(const struct tgt_lun *key)
{
    struct lun **found = tfind(&(struct lun){.key = key}, &state.luns, compare);
    return found ? *found : NULL;
}

static void remember(const struct tgt_lun *key)
{
    struct lun *l = calloc(1, sizeof(*l));
    if (!l)
        return;
    l->key = key;
    struct lun **found = tsearch(l, &state.luns, compare);
    if (!found || *found != l)
        free(l);
}

static void forget(const struct tgt_lun *key)
{
    struct lun *l = find(key);
    if (!l)
        return;
    (void)tdelete(l, &state.luns, compare); /* it is there */
    reader_close(l->reader);
    free(l);
}

/* --- rdwr -------------------------------------------------------------------------------------------------------- */

/* Is what tgtd calls "rdwr" laid out as we think? Names, sizes and the one function that we know must all be where they should. */
static const struct tgt_store *known_rdwr(void)
{
    const struct tgt_store *s = get_backingstore_template("rdwr");
    if (!s || strcmp(s->name, "rdwr") != 0 || s->submit != bs_thread_cmd_submit || s->lun_bytes <= 0 ||
        s->lun_bytes > LUN_BYTES || !s->open || !s->close || !s->init || !s->exit)
        return NULL;
    return s;
}

static int init_lun(struct tgt_lun *lun, char *options)
{
    if (!state.rdwr)
        state.rdwr = known_rdwr();
    if (!state.rdwr)
        return TGT_FAILED; /* the LUN is not made */
    memcpy(store.opcodes, state.rdwr->opcodes, sizeof(store.opcodes));
    int r = state.rdwr->init(lun, options);
    if (r == TGT_OK && lun->store == &store) /* else tgtd's LUNs are not what we know */
        remember(lun);
    return r;
}

static void exit_lun(struct tgt_lun *lun)
{
    forget(lun);
    state.rdwr->exit(lun);
}

/* --- opening ----------------------------------------------------------------------------------------------------- */

/* Into tgtd's log. */
static void tell(const char *path, int code, const struct err *err)
{
    if (code != state.told && code != 0)
        (void)fprintf(stderr, STORE_NAME ": '%s' is read through diskgate-fs only: %s\n", path, err->msg);
    state.told = code;
}

static void open_reader(struct lun *l, const char *path, uint64_t size)
{
    struct err err = {0};
    reader_close(l->reader);
    l->reader = NULL;
    if (state.socket)
        tell(path, reader_open(state.socket, path, size, &l->reader, &err), &err);
}

static int open_lun(struct tgt_lun *lun, char *path, int *fd, uint64_t *size)
{
    int r = state.rdwr->open(lun, path, fd, size);
    struct lun *l = find(lun);
    if (r == TGT_OK && l)
        open_reader(l, path, *size);
    return r;
}

static void close_lun(struct tgt_lun *lun)
{
    struct lun *l = find(lun);
    if (l) {
        reader_close(l->reader);
        l->reader = NULL;
    }
    state.rdwr->close(lun);
}

/* --- commands ---------------------------------------------------------------------------------------------------- */

enum { READ_6 = 0x08, READ_10 = 0x28, READ_16 = 0x88, READ_12 = 0xa8 };

static uint64_t big_endian(const uint8_t *p, size_t bytes)
{
    uint64_t n = 0;
    while (bytes-- > 0)
        n = n << 8 | *p++;
    return n;
}

/* What a READ asks for, in sectors. False: it is none. */
static bool read_decode(const uint8_t *cdb, uint64_t *lba, uint64_t *count)
{
    switch (cdb[0]) {
    case READ_6:
        *lba = big_endian(cdb + 1, 3) & 0x1fffff;
        *count = cdb[4] ? cdb[4] : 256;
        return true;
    case READ_10:
        *lba = big_endian(cdb + 2, 4);
        *count = big_endian(cdb + 7, 2);
        return true;
    case READ_12:
        *lba = big_endian(cdb + 2, 4);
        *count = big_endian(cdb + 6, 4);
        return true;
    case READ_16:
        *lba = big_endian(cdb + 2, 8);
        *count = big_endian(cdb + 10, 4);
        return true;
    default:
        return false;
    }
}

/* Does all that tgtd says of the command agree, with itself and with the command's own bytes? Of a LUN with other sectors than ours it does not.
 *
 * A command that had to wait is called by a loop over the queue. Were it done within the call, and its connection gone by then, tgtd would free it
 * and go over the same queue once more, and the outer loop would go on with what was freed: such a one is rdwr's, which is never done so soon. */
static bool is_plain_read(const struct tgt_cmd *c)
{
    uint64_t lba, count;
    return (c->state & TGT_STATE_MASK) == 0 && c->direction == TGT_IS_READ && c->len > 0 && c->len == c->in_len &&
           c->len == c->in_transfer && c->in_buf && c->cdb_bytes == 16 && c->cdb && read_decode(c->cdb, &lba, &count) &&
           count == c->len / SECTOR_BYTES && c->len % SECTOR_BYTES == 0 && lba == c->off / SECTOR_BYTES &&
           c->off % SECTOR_BYTES == 0;
}

static int submit(struct tgt_cmd *cmd)
{
    const struct lun *l = find(cmd->lun);
    if (l && l->reader && is_plain_read(cmd) &&
        reader_read(l->reader, (void *)(uintptr_t)cmd->in_buf, cmd->len, cmd->off))
        return 0;
    return state.rdwr->submit(cmd);
}

/* --- loading ----------------------------------------------------------------------------------------------------- */

static struct tgt_store store = {
    .name = STORE_NAME,
    .lun_bytes = LUN_BYTES,
    .open = open_lun,
    .close = close_lun,
    .init = init_lun,
    .exit = exit_lun,
    .submit = submit,
    .open_flags = O_SYNC | O_DIRECT, /* as rdwr */
};

__attribute__((constructor)) static void load(void)
{
    if (!register_backingstore_template || !get_backingstore_template || !bs_thread_cmd_submit || !is_bs_support_opcode)
        return;                   /* no tgtd, or an old one */
    (void)unsetenv("LD_PRELOAD"); /* for the programs that tgtd runs */
    const char *socket = getenv(SOCKET_ENV);
    state.socket = socket && *socket ? strdup(socket) : NULL;
    (void)register_backingstore_template(&store); /* it cannot fail */
}
