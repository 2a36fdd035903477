/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A file of finished translation tables, loaded beside an image: firmware/make_blob.py writes it.
 *
 * A header, then the address spaces, then their probes, then the tables themselves, which hold
 * physical addresses: the file works at its base address alone. Everything is little-endian.
 */
#pragma once

#include <stdint.h>

#define TABLE_BLOB_MAGIC 0x314c42542d4d4d53ul /* "SMM-TBL1" */

struct table_blob {
    uint64_t magic;
    uint64_t base;        /* where the file must be in memory */
    uint64_t size;        /* of the whole file, bytes */
    uint32_t space_count; /* the spaces follow the header */
    uint32_t unused;
};

/* One table, and how a Context descriptor leads to it: fields as in doubleword 0 of a CD. */
struct table_blob_space {
    char name[32]; /* ends with a zero */
    uint64_t ttb;
    uint64_t mair;
    uint32_t tsz;
    uint32_t tg;
    uint32_t ir;
    uint32_t or;
    uint32_t sh;
    uint32_t ips;
    uint32_t probe_offset; /* bytes from the start of the file */
    uint32_t probe_count;
};

/* An address to write to, and what should come of it. */
struct table_blob_probe {
    uint64_t iova;
    uint64_t pa;         /* where the write lands */
    uint32_t event_type; /* 0: it lands; else it is refused with this event */
    uint32_t unused;
};
