/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The DMA engine of the emulator (docs/dma_engine.md), which QEMU does not have.
 *
 * Its channels work through tables of descriptors in memory, by way of the SMMU. Each access has a
 * SubstreamID or none, may be privileged, may wait while it is stalled, and may use ATS.
 */
#pragma once

#include "bits.h"
#include "pci.h"

#define ENGINE_CHANNELS 8

/* What a descriptor asks for. */
#define ENGINE_NOTHING 0
#define ENGINE_READ 1
#define ENGINE_COPY 2
#define ENGINE_FILL 3

/* How accesses are made. */
#define ENGINE_PRIVILEGED BIT(4)
#define ENGINE_SUBSTREAM(ssid) (BIT(5) | ((uint64_t)(ssid) << 12))
#define ENGINE_CAN_WAIT BIT(6)
#define ENGINE_ATS BIT(7)

/* What became of a descriptor. */
#define ENGINE_DONE 1
#define ENGINE_READ_REFUSED 2
#define ENGINE_WRITE_REFUSED 3
#define ENGINE_BAD_DESCRIPTOR 4

/* States of a channel. */
enum engine_state {
    ENGINE_STATE_IDLE,
    ENGINE_STATE_BUSY,
    ENGINE_STATE_DONE,
    ENGINE_STATE_FETCH_REFUSED,
    ENGINE_STATE_TRANSFER_FAILED,
    ENGINE_STATE_RESULT_REFUSED,
};

/* 64 bytes in memory, aligned to as much. */
struct engine_descriptor {
    uint64_t dw[8];
};

struct engine_request {
    unsigned operation;
    uint64_t access; /* ENGINE_PRIVILEGED and others */
    uint32_t length; /* bytes */
    uint64_t source;
    uint64_t destination;
    uint64_t value; /* for ENGINE_FILL */
};

struct dma_engine {
    struct pci_device pci;
};

/* Finds the engine on bus 0 and turns it on; its StreamID is engine->pci.rid. */
bool engine_find(struct dma_engine *engine);

void engine_describe(volatile struct engine_descriptor *descriptor,
                     const struct engine_request *request);

/* What was read first, by ENGINE_READ and ENGINE_COPY; what became of it; bytes moved. */
uint64_t engine_value(const volatile struct engine_descriptor *descriptor);
unsigned engine_result(const volatile struct engine_descriptor *descriptor);
uint32_t engine_moved(const volatile struct engine_descriptor *descriptor);

/* Starts a channel with a table at an IOVA; access says how the table itself is accessed. */
void engine_start(const struct dma_engine *engine, unsigned channel, uint64_t table,
                  unsigned count, uint64_t access);
enum engine_state engine_state(const struct dma_engine *engine, unsigned channel);
const char *engine_state_name(enum engine_state state);

/* The message that tells of a channel's end; address 0 sends none. */
void engine_set_message(const struct dma_engine *engine, unsigned channel, uint64_t address,
                        uint32_t data);

/* Whether the engine may use ATS, and send page requests; and what its cache holds. */
void engine_ats_enable(const struct dma_engine *engine, bool ats, bool pri);
unsigned engine_ats_entries(const struct dma_engine *engine);
unsigned engine_ats_requests(const struct dma_engine *engine);
