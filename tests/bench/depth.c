/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What layers cost: nanoseconds of a 4 KiB read from a base through 1, 8 and 64 layers in which nothing was written, and through as many in
 * which every second block was.
 *
 *   depth [SECONDS]
 *
 * stdout gets one line of JSON for each depth: {"layers", "empty_ns", "half_ns", "map_bytes" (of all maps, of a 4 TB disk)}.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/base.h"
#include "core/cow.h"
#include "core/util.h"

#define DEPTH_MAX 64
#define DISK      (256ULL * MiB)

struct tower {
    struct blk *base, *layer[DEPTH_MAX];
    struct livemap *map[DEPTH_MAX];
    int data_fd[DEPTH_MAX];
    int depth;
};

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail for this clock */
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int stop(const char *what)
{
    fprintf(stderr, "depth: cannot make %s\n", what);
    exit(1);
}

static int map_fds[DEPTH_MAX]; /* of the tower that was made last, to see what they occupy */

static void make(struct tower *t, int depth, uint64_t size)
{
    int fd = memfd_create("base", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)size) < 0 || !(t->base = base_create(fd, size, size)))
        stop("the base");
    t->depth = depth;
    for (int i = 0; i < depth; i++) {
        struct map_stamp stamp = {.overlay_id = {(unsigned char)i}, .base_identity = "x", .size_bytes = size};
        struct err err;
        t->data_fd[i] = memfd_create("data", MFD_CLOEXEC);
        map_fds[i] = memfd_create("map", MFD_CLOEXEC);
        if (t->data_fd[i] < 0 || map_fds[i] < 0 || ftruncate(t->data_fd[i], (off_t)size) < 0 ||
            livemap_create(map_fds[i], &stamp, &t->map[i], &err) < 0)
            stop("a layer");
        t->layer[i] = cow_create(i ? t->layer[i - 1] : t->base, t->data_fd[i], t->map[i], (struct cow_flush){0}, false);
        if (!t->layer[i])
            stop("a layer");
    }
}

static void drop(struct tower *t)
{
    for (int i = t->depth - 1; i >= 0; i--) {
        blk_destroy(t->layer[i]);
        livemap_close(t->map[i]);
        (void)close(t->data_fd[i]);
    }
    blk_destroy(t->base);
}

/* Reads of blocks that are in none of the layers. */
static double measure(struct tower *t, double seconds)
{
    static char buf[BLOCK_BYTES];
    uint64_t n = 0, blocks = DISK / BLOCK_BYTES, random = 88172645463325252ULL;
    double start = now(), end = start;
    while (end - start < seconds) {
        for (int i = 0; i < 256; i++, n++) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            if (blk_read(t->layer[t->depth - 1], buf, sizeof(buf), (random % blocks | 1) * BLOCK_BYTES) < 0)
                stop("a read");
        }
        end = now();
    }
    return (end - start) / (double)n * 1e9;
}

/* Every second block, in every layer: runs are as short as can be. */
static void fill(struct tower *t)
{
    static char buf[BLOCK_BYTES];
    memset(buf, 1, sizeof(buf));
    for (int i = 0; i < t->depth; i++)
        for (uint64_t blk = 0; blk < DISK / BLOCK_BYTES; blk += 2)
            if (blk_write(t->layer[i], buf, sizeof(buf), blk * BLOCK_BYTES) < 0)
                stop("a write");
}

static uint64_t map_bytes_of_4_tb(int depth)
{
    struct tower t;
    uint64_t sum = 0;
    make(&t, depth, 4000ULL * 1000 * 1000 * 1000);
    for (int i = 0; i < depth; i++) {
        struct stat st;
        sum += fstat(map_fds[i], &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
    }
    drop(&t);
    return sum;
}

int main(int argc, char **argv)
{
    static const int depths[] = {1, 8, 64};
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 0.5;
    for (size_t i = 0; i < ARRAY_SIZE(depths); i++) {
        struct tower t;
        make(&t, depths[i], DISK);
        double empty = measure(&t, seconds);
        if (depths[i] <= 8) /* 64 of them would take 8 GiB of memory */
            fill(&t);
        double half = depths[i] <= 8 ? measure(&t, seconds) : 0;
        drop(&t);
        printf("{\"layers\": %d, \"empty_ns\": %.0f, \"half_ns\": %.0f, \"map_bytes\": %llu}\n", depths[i], empty, half,
               (unsigned long long)map_bytes_of_4_tb(depths[i]));
    }
    return 0;
}
