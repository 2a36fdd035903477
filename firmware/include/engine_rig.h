/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What tests with the DMA engine stand on: the SMMU, the engine behind it, a table of descriptors
 * with one for each channel, and checks of one transfer each.
 */
#pragma once

#include "check.h"
#include "dma_engine.h"
#include "smmuv3.h"

struct engine_rig {
    struct smmu smmu;
    struct dma_engine engine;
    uint32_t sid;         /* the engine's StreamID */
    uint64_t table_access; /* how the engine accesses its descriptors */
    volatile struct engine_descriptor *descriptors;
};

/* Finds the engine and the SMMU. False, with a line printed, when one is missing. */
bool engine_rig_find(struct engine_rig *rig);

/* Brings the SMMU up. */
bool engine_rig_start(struct engine_rig *rig, const struct smmu_config *config);

/* Maps the descriptors, at their own address: every table that the engine fetches by needs it. */
void engine_rig_map(const struct engine_rig *rig, struct pagetable *table);

/* Starts a channel with one request, and says in which state it is then. */
enum engine_state engine_rig_run(struct engine_rig *rig, unsigned channel,
                                 const struct engine_request *request);

/* Checks of 8 bytes each: written to iova they land at pa; read at iova they are those at pa. */
bool check_engine_writes(struct engine_rig *rig, uint64_t access, uint64_t iova, uint64_t pa,
                         const char *what);
bool check_engine_reads(struct engine_rig *rig, uint64_t access, uint64_t iova, uint64_t pa,
                        const char *what);

/*
 * A write of 8 bytes is refused, with one event of a type, which is printed, or none (0); the
 * same for a read.
 */
bool check_engine_write_refused(struct engine_rig *rig, uint64_t access, uint64_t iova,
                                unsigned type, const char *what);
bool check_engine_read_refused(struct engine_rig *rig, uint64_t access, uint64_t iova,
                               unsigned type, const char *what);

/* Prints the events that are left; true when there was none. */
bool engine_rig_no_events(struct engine_rig *rig);
