/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "rig.h"

#include "board.h"
#include "console.h"
#include "mmio.h"

#define GUARD 16           /* bytes watched on either side of a transfer */
#define BACKGROUND 0xa5    /* what they hold */

bool rig_start(struct rig *rig, const struct smmu_config *config)
{
    if (!smmu_probe(&rig->smmu, SMMU_BASE) || !smmu_init(&rig->smmu, config))
        return check(false, "the SMMU comes up");
    if (!testdev_find(&rig->dev))
        return check(false, "the test device is there");
    rig->sid = rig->dev.pci.rid;
    return true;
}

volatile struct cd *rig_attach(struct rig *rig, uint16_t asid, const struct pagetable *lower,
                               const struct pagetable *upper)
{
    volatile struct cd *memory = smmu_cd_alloc();
    struct cd cd = smmu_cd_make(asid, lower, upper);
    struct ste ste = smmu_ste_make_s1(memory);

    smmu_cd_write(memory, &cd);
    if (!smmu_stream_attach(&rig->smmu, rig->sid, &ste))
        check(false, "the stream is attached");
    return memory;
}

static void fill(uint64_t pa, uint32_t length)
{
    for (uint64_t at = pa - GUARD; at < pa + length + GUARD; at++)
        *(volatile uint8_t *)at = BACKGROUND;
    dsb();
}

/* What a byte should be after a transfer that landed, or after none at all. */
static uint8_t expected(uint64_t at, uint64_t pa, uint32_t landed)
{
    if (at < pa || at >= pa + landed)
        return BACKGROUND;
    return (uint8_t)(TESTDEV_PATTERN >> (8 * ((at - pa) % 4)));
}

static bool compare(uint64_t pa, uint32_t length, uint32_t landed)
{
    dsb();
    for (uint64_t at = pa - GUARD; at < pa + length + GUARD; at++) {
        uint8_t found = *(volatile uint8_t *)at;

        if (found != expected(at, pa, landed)) {
            printf("  0x%lx holds 0x%02x instead of 0x%02x\n", at, found,
                   expected(at, pa, landed));
            return false;
        }
    }
    return true;
}

bool rig_no_events(struct rig *rig)
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

bool dma_lands(struct rig *rig, uint64_t iova, uint64_t pa, uint32_t length)
{
    fill(pa, length);

    uint32_t result = testdev_dma(&rig->dev, iova, pa, length);
    bool quiet = rig_no_events(rig);
    bool landed = compare(pa, length, length);

    if (result != TESTDEV_OK)
        printf("  the device says: %s\n", testdev_result_name(result));
    return result == TESTDEV_OK && quiet && landed;
}

bool dma_refused(struct rig *rig, uint64_t iova, uint64_t pa, unsigned type,
                 struct smmu_event *event)
{
    fill(pa, 4);

    uint32_t result = testdev_dma(&rig->dev, iova, pa, 4);
    bool recorded = type ? smmu_event_pop(&rig->smmu, event) : true;
    bool quiet = rig_no_events(rig);
    bool untouched = compare(pa, 4, 0);

    if (result != TESTDEV_WRITE_FAILED)
        printf("  the device says: %s\n", testdev_result_name(result));
    if (!recorded)
        printf("  no event was recorded\n");
    if (type && recorded && smmu_event_type(event) != type) {
        printf("  another event: ");
        smmu_event_print(event);
        return false;
    }
    return result == TESTDEV_WRITE_FAILED && recorded && quiet && untouched;
}

bool check_dma_lands(struct rig *rig, uint64_t iova, uint64_t pa, const char *what)
{
    bool good = dma_lands(rig, iova, pa, 4);

    return check(good, "%s: iova 0x%lx lands at 0x%lx", what, iova, pa);
}

bool check_dma_faults(struct rig *rig, uint64_t iova, unsigned type, const char *what)
{
    struct smmu_event event = {0};
    bool good = dma_refused(rig, iova, DMA_BASE, type, &event);

    check(good, "%s: iova 0x%lx is refused", what, iova);
    if (good) {
        printf("      ");
        smmu_event_print(&event);
    }
    return good;
}

bool check_dma_aborts_silently(struct rig *rig, uint64_t iova, const char *what)
{
    bool good = dma_refused(rig, iova, DMA_BASE, 0, NULL);

    return check(good, "%s: iova 0x%lx is refused, and nothing is recorded", what, iova);
}
