/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Address spaces of a driver that lives long: memory is given back and used again, tags as well,
 * and so every change of a table or structure is followed by the invalidation that it needs.
 *
 * Pages and tables have 4 KiB, addresses 39 bits. Spec: Arm IHI 0070 3.21 (what to invalidate),
 * 4.4 (with what), 4.7.3 (and when that is done), DDI 0487 D8.16 (break before make).
 */
#pragma once

#include "rig.h"

#define PAGE_SIZE 0x1000ul
#define BLOCK_SIZE 0x200000ul

/* Memory by pages, last in first out; a free page holds a link, as in most allocators. */
uint64_t frame_alloc(void);
void frame_free(uint64_t frame);

/* One address space: stage 1 under an ASID, or stage 2 under a VMID. */
struct space {
    struct smmu *smmu;
    bool stage2;
    bool has_guest; /* stage 2 with a stage 1 above it */
    uint16_t tag;   /* ASID or VMID */
    struct pagetable table;
    volatile struct cd *cd; /* of stage 1 */
    struct {
        uint64_t iova, size;
        bool due, leaf;
    } late;
};

/* An empty space; the tag is the caller's to choose. */
void space_open(struct space *space, struct smmu *smmu, bool stage2, uint16_t tag);

/* Drops everything cached under its tag, and gives back its tables. No stream is attached. */
void space_close(struct space *space);

void space_map(struct space *space, uint64_t iova, uint64_t pa, uint64_t size,
               uint64_t attributes);
void space_map_block(struct space *space, uint64_t iova, uint64_t pa, uint64_t attributes);

/* Unmaps pages. When this returns, no device can reach what they led to. */
void space_unmap(struct space *space, uint64_t iova, uint64_t size);

/* Makes a block 512 pages that lead to the same. */
void space_split(struct space *space, uint64_t iova);

/* Leads a page elsewhere. */
void space_move(struct space *space, uint64_t iova, uint64_t pa);

/* Takes write permission away from a page of stage 1. */
void space_protect(struct space *space, uint64_t iova);

/* Gives a space a tag and other, empty tables, while its stream is attached and idle. */
void space_switch(struct space *space, uint32_t sid, uint16_t tag);

/* The STE of a stream that is translated so; guest 0 is stage 2 alone. */
struct ste space_ste(const struct space *space);

/* Puts an STE in place of another. */
bool space_attach(struct smmu *smmu, uint32_t sid, const struct ste *ste);

/* Has the stream abort, and gives the space's CD back. */
bool space_detach(struct space *space, uint32_t sid);

/* Takes records until there is none; how many there were. */
unsigned space_take_events(struct smmu *smmu);

/* After an illegal command: makes it a harmless one, and acknowledges. */
void space_recover(struct smmu *smmu);

/* Moves the Stream table elsewhere; streams abort until then. */
bool space_move_streams(struct smmu *smmu);

/* Sends the Event queue's messages elsewhere; only where there are messages. */
void space_move_message(struct smmu *smmu, uint64_t address);

bool space_issue(struct smmu *smmu, struct smmu_command command);
bool space_sync(struct smmu *smmu);
