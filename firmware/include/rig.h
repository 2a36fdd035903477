/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What most tests stand on: the SMMU, the test device behind it, and checks of one DMA each.
 */
#pragma once

#include "check.h"
#include "smmuv3.h"
#include "testdev.h"

struct rig {
    struct smmu smmu;
    struct testdev dev;
    uint32_t sid; /* the test device's StreamID */
};

/* A linear table for 64 StreamIDs, and queues that no test here fills by accident. */
#define RIG_CONFIG_DEFAULT \
    ((struct smmu_config){.sid_lg2 = 6, .split = 0, .cmdq_lg2 = 5, .evtq_lg2 = 5})

/* Brings both up. False, with a line printed, when one is missing. */
bool rig_start(struct rig *rig, const struct smmu_config *config);

/* Attaches the test device to stage 1 with these tables. Returns its Context descriptor. */
volatile struct cd *rig_attach(struct rig *rig, uint16_t asid, const struct pagetable *lower,
                               const struct pagetable *upper);

/*
 * Writes length bytes by DMA, and says whether exactly the bytes at pa changed, the device was
 * content, and no event was recorded. The bytes are restored.
 */
bool dma_lands(struct rig *rig, uint64_t iova, uint64_t pa, uint32_t length);

/*
 * Writes 4 bytes by DMA, and says whether the device was refused and nothing changed at pa. With
 * a type other than 0 exactly one event of that type must have been recorded, else none.
 */
bool dma_refused(struct rig *rig, uint64_t iova, uint64_t pa, unsigned type,
                 struct smmu_event *event);

/* The same two as checks of their own: a line each, and the record of the fault in words. */
bool check_dma_lands(struct rig *rig, uint64_t iova, uint64_t pa, const char *what);
bool check_dma_faults(struct rig *rig, uint64_t iova, unsigned type, const char *what);
bool check_dma_aborts_silently(struct rig *rig, uint64_t iova, const char *what);

/* Prints and counts the events that are left; true when there was none. */
bool rig_no_events(struct rig *rig);
