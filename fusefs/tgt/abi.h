/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a store inside tgtd has to know of tgtd: an own description of its structs on x86-64, for versions 1.0.85 to 1.0.97.
 *
 * tgt has no header for others and no number that tells one layout from another, so nothing here is believed:
 *
 * (1) tgt's structs are never written to, but for the registration and the opcodes of our own struct tgt_store.
 * (2) Before rdwr's functions are called: its entry names bs_thread_cmd_submit() where we expect it, and a tgtd that exports the functions
 *     below has the fields that came with them.
 * (3) A command's fields are looked at in an order in which each makes the next one safe: the LUN is compared, as a number, with those we know;
 *     then direction, lengths and offset must agree with each other, and at last with the bytes of the command itself.
 *
 * The right column is the byte offset. Source: usr/tgtd.h, usr/scsi_cmnd.h of tgt 1.0.85; offsets seen in Debian's tgtd 1:1.0.85-1+deb12u1, too.
 *
 * Threads: tgtd's event loop calls all functions of a store.
 */
#ifndef DISKGATE_FUSEFS_TGT_ABI_H
#define DISKGATE_FUSEFS_TGT_ABI_H

#include <stddef.h>
#include <stdint.h>

#define TGT_OK      0 /* of open, init: anything else is an error of tgtadm */
#define TGT_FAILED  1
#define TGT_IS_READ 2 /* tgt_cmd.direction */

/* tgt_cmd.state of a command that was called at once. Bits: 0 it had to wait in the LUN's queue (behind one of ORDERED or HEAD OF QUEUE), 1 it was
 * called, 2 it is asynchronous, 3 more of them follow. */
#define TGT_STATE_MASK 7

struct tgt_store;

/* struct scsi_lu: a LUN. Behind it lie tgt_store.lun_bytes that the store may use. */
struct tgt_lun {
    unsigned char other[6336];
    const struct tgt_store *store; /* 6336 */
    unsigned char more[1264];      /* 6344 */
};

/* struct scsi_cmd: a command. */
struct tgt_cmd {
    unsigned char other1[48];
    struct tgt_lun *lun; /* 48 */
    unsigned long state; /* 56 */
    int direction;       /* 64 */
    unsigned char other3[4];
    uint64_t in_buf;      /* 72: address of what is sent to the initiator */
    uint32_t in_len;      /* 80: bytes the initiator takes */
    uint32_t in_transfer; /* 84: the same, before tgt cuts it */
    unsigned char other4[40];
    uint64_t off;  /* 128: bytes */
    uint32_t len;  /* 136: bytes, what the command itself says */
    uint8_t *cdb;  /* 144 */
    int cdb_bytes; /* 152: 16 over iSCSI, whatever the command */
    unsigned char other5[324];
};

/* struct backingstore_template */
struct tgt_store {
    const char *name;                                                      /* 0 */
    int lun_bytes;                                                         /* 8 */
    int (*open)(struct tgt_lun *lun, char *path, int *fd, uint64_t *size); /* 16 */
    void (*close)(struct tgt_lun *lun);                                    /* 24: the LUN's path may be gone by then */
    int (*init)(struct tgt_lun *lun, char *options);                       /* 32: once, before the first open */
    void (*exit)(struct tgt_lun *lun);                                     /* 40: only if init succeeded */
    int (*submit)(struct tgt_cmd *cmd); /* 48: 0 and not marked asynchronous = the command is done, its result GOOD */
    int open_flags;                     /* 56: what "bsoflags" may name */
    unsigned long opcodes[4];           /* 64: bit n = opcode n is known; none = all are */
    void *siblings[2];                  /* 96 */
};

_Static_assert(sizeof(void *) == 8, "64 bits");
_Static_assert(offsetof(struct tgt_lun, store) == 6336 && sizeof(struct tgt_lun) == 7608, "struct scsi_lu");
_Static_assert(offsetof(struct tgt_cmd, lun) == 48 && offsetof(struct tgt_cmd, state) == 56 &&
                   offsetof(struct tgt_cmd, direction) == 64 && offsetof(struct tgt_cmd, in_buf) == 72 &&
                   offsetof(struct tgt_cmd, in_len) == 80 && offsetof(struct tgt_cmd, off) == 128 &&
                   offsetof(struct tgt_cmd, len) == 136 && offsetof(struct tgt_cmd, cdb) == 144 &&
                   offsetof(struct tgt_cmd, cdb_bytes) == 152 && sizeof(struct tgt_cmd) == 480,
               "struct scsi_cmd");
_Static_assert(offsetof(struct tgt_store, submit) == 48 && offsetof(struct tgt_store, opcodes) == 64 &&
                   sizeof(struct tgt_store) == 112,
               "struct backingstore_template");

/* Functions that tgtd exports; NULL in any other program. is_bs_support_opcode() came with tgt_store.opcodes. */
#define TGT_FUNCTION __attribute__((weak, visibility("default")))
TGT_FUNCTION extern int register_backingstore_template(struct tgt_store *store);
TGT_FUNCTION extern struct tgt_store *get_backingstore_template(const char *name);
TGT_FUNCTION extern int bs_thread_cmd_submit(struct tgt_cmd *cmd); /* rdwr's submit */
TGT_FUNCTION extern int is_bs_support_opcode(struct tgt_store *store, int opcode);

#endif
