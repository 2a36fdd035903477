/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine_rig.h"

#include "board.h"
#include "console.h"
#include "mmio.h"
#include "pool.h"

#define BACKGROUND 0xa5a5a5a5a5a5a5a5ul
#define PATTERN 0x1122334455667788ul

bool engine_rig_find(struct engine_rig *rig)
{
    if (!engine_find(&rig->engine)) {
        printf("no DMA engine (1234:5d4a) on PCI bus 0\n");
        return false;
    }
    rig->sid = rig->engine.pci.rid;
    rig->table_access = 0;
    rig->descriptors = pool_alloc(0x1000, 0x1000);
    return smmu_probe(&rig->smmu, SMMU_BASE);
}

bool engine_rig_start(struct engine_rig *rig, const struct smmu_config *config)
{
    return smmu_init(&rig->smmu, config) || check(false, "the SMMU comes up");
}

void engine_rig_map(const struct engine_rig *rig, struct pagetable *table)
{
    uint64_t address = (uintptr_t)rig->descriptors;

    pagetable_map(table, address, address, 3, PTE_READ_WRITE);
}

enum engine_state engine_rig_run(struct engine_rig *rig, unsigned channel,
                                 const struct engine_request *request)
{
    volatile struct engine_descriptor *descriptor = &rig->descriptors[channel];

    engine_describe(descriptor, request);
    engine_start(&rig->engine, channel, (uintptr_t)descriptor, 1, rig->table_access);
    return engine_state(&rig->engine, channel);
}

bool engine_rig_no_events(struct engine_rig *rig)
{
    struct smmu_event event;
    bool none = true;

    while (smmu_event_pop(&rig->smmu, &event)) {
        printf("  unexpected event: ");
        smmu_event_print(&event);
        none = false;
    }
    return none;
}

static bool done(struct engine_rig *rig, const struct engine_request *request)
{
    enum engine_state state = engine_rig_run(rig, 0, request);

    if (state != ENGINE_STATE_DONE)
        printf("  the engine says: %s\n", engine_state_name(state));
    return engine_rig_no_events(rig) && state == ENGINE_STATE_DONE;
}

bool check_engine_writes(struct engine_rig *rig, uint64_t access, uint64_t iova, uint64_t pa,
                         const char *what)
{
    volatile uint64_t *target = (volatile uint64_t *)pa;
    struct engine_request request = {ENGINE_FILL, access, 8, 0, iova, PATTERN};

    *target = BACKGROUND;
    dsb();
    bool good = done(rig, &request) && *target == PATTERN;
    return check(good, "%s: a write to 0x%lx lands at 0x%lx", what, iova, pa);
}

bool check_engine_reads(struct engine_rig *rig, uint64_t access, uint64_t iova, uint64_t pa,
                        const char *what)
{
    volatile uint64_t *source = (volatile uint64_t *)pa;
    struct engine_request request = {ENGINE_READ, access, 8, iova, 0, 0};

    *source = PATTERN ^ pa;
    dsb();
    bool good = done(rig, &request) && engine_value(&rig->descriptors[0]) == (PATTERN ^ pa);
    return check(good, "%s: a read of 0x%lx finds what is at 0x%lx", what, iova, pa);
}

static bool refused(struct engine_rig *rig, const struct engine_request *request, unsigned type,
                    const char *what)
{
    struct smmu_event event = {0};
    enum engine_state state = engine_rig_run(rig, 0, request);
    bool recorded = !type || smmu_event_pop(&rig->smmu, &event);
    bool quiet = engine_rig_no_events(rig);
    bool good = state == ENGINE_STATE_TRANSFER_FAILED && recorded && quiet &&
                (!type || smmu_event_type(&event) == type);

    if (state != ENGINE_STATE_TRANSFER_FAILED)
        printf("  the engine says: %s\n", engine_state_name(state));
    check(good, "%s: a %s 0x%lx is refused%s", what,
          request->operation == ENGINE_READ ? "read of" : "write to",
          request->source | request->destination, type ? "" : ", and nothing is recorded");
    if (type && recorded) {
        printf("      ");
        smmu_event_print(&event);
    }
    return good;
}

bool check_engine_write_refused(struct engine_rig *rig, uint64_t access, uint64_t iova,
                                unsigned type, const char *what)
{
    struct engine_request request = {ENGINE_FILL, access, 8, 0, iova, PATTERN};

    return refused(rig, &request, type, what);
}

bool check_engine_read_refused(struct engine_rig *rig, uint64_t access, uint64_t iova,
                               unsigned type, const char *what)
{
    struct engine_request request = {ENGINE_READ, access, 8, iova, 0, 0};

    return refused(rig, &request, type, what);
}
