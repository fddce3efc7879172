/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An initiator that writes without end and keeps a log of what was acknowledged.
 *
 *   iscsi-ackwrite URL LOGFILE
 *
 * Writes blocks of 4 KiB at random places of the first 64 MiB. The block's content is 256 times (block, sequence), little-endian 64 bit
 * each, sequence counting from 1. As soon as a write is acknowledged, the line "BLOCK SEQUENCE" goes to LOGFILE. A write that ends
 * in CHECK CONDITION is repeated until it is acknowledged, as a kernel initiator repeats it. Every 64 writes a SYNCHRONIZE CACHE.
 *
 * Ends on SIGTERM or SIGINT. A write that was being repeated then is logged as "BLOCK SEQUENCE pending": it may or may not be on the disk.
 * stdout gets "ready" when the first write was acknowledged and "repeated N" at the end.
 *
 * Exit status: 0 told to stop; 1 login or set-up failed; 3 the session was lost (it is never logged in again behind the test's back).
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

enum { BLOCK = 4096, SECTOR = 512, AREA_BLOCKS = 16384, WORDS = BLOCK / 8, FLUSH_EVERY = 64 };

/* The signals stay blocked, so that none breaks a call of libiscsi in the middle; they are asked for between two writes. */
static void block_stop(void)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &set, NULL); /* cannot fail with valid arguments */
}

static bool is_stopped(void)
{
    sigset_t set;

    return sigpending(&set) == 0 && (sigismember(&set, SIGTERM) || sigismember(&set, SIGINT));
}

/* xorshift64: good enough to spread blocks, the same in each run. */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void fill(uint64_t *words, uint64_t block, uint64_t sequence)
{
    for (int i = 0; i < WORDS; i += 2) {
        words[i] = block;
        words[i + 1] = sequence;
    }
}

static struct iscsi_context *log_in(const char *text, int *ret_lun)
{
    struct iscsi_context *iscsi = iscsi_create_context("iqn.2026-01.test.diskgate:ackwrite");
    struct iscsi_url *url = iscsi ? iscsi_parse_full_url(iscsi, text) : NULL;

    if (!url) {
        fprintf(stderr, "iscsi-ackwrite: '%s' is no iSCSI URL\n", text);
        return NULL;
    }
    iscsi_set_targetname(iscsi, url->target);
    iscsi_set_session_type(iscsi, ISCSI_SESSION_NORMAL);
    iscsi_set_header_digest(iscsi, ISCSI_HEADER_DIGEST_NONE);
    iscsi_set_noautoreconnect(iscsi, 1);
    *ret_lun = url->lun;
    if (iscsi_full_connect_sync(iscsi, url->portal, url->lun) != 0) {
        fprintf(stderr, "iscsi-ackwrite: cannot log in: %s\n", iscsi_get_error(iscsi));
        return NULL;
    }
    return iscsi;
}

/* SCSI status of one command; -1 when the session is gone. Takes the task. */
static int finish(struct iscsi_context *iscsi, struct scsi_task *task)
{
    if (!task)
        return -1;
    int status = task->status;
    scsi_free_scsi_task(task);
    if (status == SCSI_STATUS_CANCELLED || status == SCSI_STATUS_ERROR || status == SCSI_STATUS_TIMEOUT)
        return -1;
    return iscsi_is_logged_in(iscsi) ? status : -1;
}

static int write_block(struct iscsi_context *iscsi, int lun, uint64_t *words, uint64_t block)
{
    return finish(iscsi, iscsi_write16_sync(iscsi, lun, block * (BLOCK / SECTOR), (unsigned char *)words, BLOCK, SECTOR,
                                            0, 0, 0, 0, 0));
}

static void pause_ms(long ms)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL); /* a shorter pause does no harm */
}

/* Repeat the write until it is acknowledged (1), we are told to stop (0) or the session is gone (-1). */
static int write_until_acked(struct iscsi_context *iscsi, int lun, uint64_t *words, uint64_t block, uint64_t *repeated)
{
    while (!is_stopped()) {
        int status = write_block(iscsi, lun, words, block);
        if (status == SCSI_STATUS_GOOD)
            return 1;
        if (status < 0)
            return -1;
        ++*repeated;
        pause_ms(20);
    }
    return 0;
}

static int run(struct iscsi_context *iscsi, int lun, FILE *log)
{
    static uint64_t words[WORDS];
    uint64_t random = 88172645463325252ULL, repeated = 0;
    int ret = 1;

    for (uint64_t sequence = 1; ret == 1 && !is_stopped(); sequence++) {
        uint64_t block = next_random(&random) % AREA_BLOCKS;

        fill(words, block, sequence);
        ret = write_until_acked(iscsi, lun, words, block, &repeated);
        fprintf(log, "%" PRIu64 " %" PRIu64 "%s\n", block, sequence, ret == 1 ? "" : " pending");
        fflush(log);
        if (sequence == 1 && ret == 1) {
            puts("ready");
            fflush(stdout);
        }
        if (ret == 1 && sequence % FLUSH_EVERY == 0 &&
            finish(iscsi, iscsi_synchronizecache10_sync(iscsi, lun, 0, 0, 0, 0)) < 0)
            ret = -1;
    }
    printf("repeated %" PRIu64 "\n", repeated);
    return ret < 0 ? 3 : 0;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: iscsi-ackwrite URL LOGFILE\n");
        return 2;
    }
    block_stop();

    FILE *log = fopen(argv[2], "w");
    if (!log) {
        fprintf(stderr, "iscsi-ackwrite: cannot write '%s': %s\n", argv[2], strerror(errno));
        return 1;
    }
    int lun = 0;
    struct iscsi_context *iscsi = log_in(argv[1], &lun);
    int status = iscsi ? run(iscsi, lun, log) : 1;
    if (fclose(log) != 0)
        status = 1;
    if (status == 3)
        fprintf(stderr, "iscsi-ackwrite: the session was lost: %s\n", iscsi_get_error(iscsi));
    return status;
}
