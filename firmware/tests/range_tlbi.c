/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Invalidation by range, and with a hint of the level (Arm IHI 0070, 4.4.1.1).
 *
 * As in unmap_tlbi, the SMMUs that this image is for keep what nothing invalidates, so that both
 * ends of a range can be seen: pages inside are forgotten, their neighbours are not.
 */
#include "board.h"
#include "console.h"
#include "mmio.h"
#include "rig.h"

#define ASID 5
#define PAGES 8

static struct rig rig;
static struct pagetable table;

static void issue(struct smmu_command command)
{
    smmu_issue_sync(&rig.smmu, command);
}

static const struct granule {
    unsigned lg2;
    unsigned block_level;
    uint32_t idr5;
} granules[] = {
    {12, 2, IDR5_GRAN4K},
    {14, 2, IDR5_GRAN16K},
    {16, 2, IDR5_GRAN64K},
};

/* Pages of one granule, side by side; all of them lead to the same page. */
static uint64_t page_iova(const struct granule *granule, unsigned i)
{
    return 0x40000000 + ((uint64_t)i << granule->lg2);
}

static void map_and_use(const struct granule *granule, const unsigned *pages, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        uint64_t iova = page_iova(granule, pages[i]);

        pagetable_map(&table, iova, DMA_BASE, 3, PTE_READ_WRITE);
        if (!dma_lands(&rig, iova, DMA_BASE, 4))
            check(false, "page %u is usable", pages[i]);
        *pagetable_descriptor(&table, iova, 3) = 0;
    }
    dma_write_barrier();
}

static bool forgotten(uint64_t iova)
{
    struct smmu_event event = {0};

    if (testdev_dma(&rig.dev, iova, DMA_BASE, 4) == TESTDEV_OK)
        return false;
    return smmu_event_pop(&rig.smmu, &event) && smmu_event_type(&event) == EVENT_F_TRANSLATION &&
           rig_no_events(&rig);
}

/* (num + 1) << scale pages from one of them on. */
static const struct range {
    unsigned first;
    unsigned num;
    unsigned scale;
} ranges[] = {
    {4, 0, 1}, {4, 2, 0}, {8, 1, 2}, {0, 30, 0}, {32, 0, 5}, {64, 2, 4},
};

static void test_range(const struct granule *granule, const struct range *range)
{
    unsigned count = (range->num + 1) << range->scale;
    unsigned last = range->first + count - 1;
    /* The page before and the one after, both ends and the middle. */
    unsigned pages[5] = {range->first, range->first + count / 2, last, last + 1, 0};
    unsigned used = 4;

    if (range->first)
        pages[used++] = range->first - 1;
    map_and_use(granule, pages, used);
    issue(smmu_cmd_with_range(smmu_cmd_tlbi_va(ASID, page_iova(granule, range->first), true),
                              granule->lg2, range->num, range->scale, 3));
    bool good = true;
    for (unsigned i = 0; i < used; i++) {
        bool inside = pages[i] >= range->first && pages[i] <= last;

        if (forgotten(page_iova(granule, pages[i])) != inside) {
            printf("  page %u: %s\n", pages[i], inside ? "still there" : "forgotten");
            good = false;
        }
    }
    check(good, "NUM %u SCALE %u: pages %u to %u are forgotten, their neighbours are not",
          range->num, range->scale, range->first, last);
    issue(smmu_cmd_tlbi(CMD_TLBI_NH_ALL));
}

/* A hint is about the level of the leaf; a wrong one may reach nothing, the right one must. */
static void test_levels(const struct granule *granule)
{
    uint64_t size = pagetable_leaf_size(&table, granule->block_level);
    uint64_t block = 0x80000000 & -size;
    uint64_t pa = DMA_BASE & -size;
    uint64_t inside = DMA_BASE - pa;
    static const struct {
        unsigned level; /* 0: no hint */
        bool range;
        const char *what;
    } hints[] = {
        {0, false, "one address without range or hint"},
        {2, true, "one page in a range, with the hint of level 2"},
        {0, true, "two pages in a range, without a hint"},
    };

    for (unsigned i = 0; i < ARRAY_COUNT(hints); i++) {
        struct smmu_command tlbi = smmu_cmd_tlbi_va(ASID, block, true);

        pagetable_map(&table, block, pa, granule->block_level, PTE_READ_WRITE);
        if (!dma_lands(&rig, block + inside, DMA_BASE, 4))
            check(false, "the block is usable");
        *pagetable_descriptor(&table, block, granule->block_level) = 0;
        dma_write_barrier();
        if (hints[i].range)
            tlbi = smmu_cmd_with_range(tlbi, granule->lg2, hints[i].level ? 0 : 1, 0,
                                       hints[i].level);
        issue(tlbi);
        check(forgotten(block + inside), "a block is forgotten by %s", hints[i].what);
    }
}

/* Linux's order: from the smallest scale up, as many of each as fit NUM. */
static unsigned flush(const struct granule *granule, uint64_t iova, uint64_t pages)
{
    unsigned commands = 0;

    for (unsigned scale = 0; pages; scale++) {
        uint64_t number = (pages >> scale) & 31;

        if (!number)
            continue;
        struct smmu_command tlbi = smmu_cmd_with_range(
            smmu_cmd_tlbi_va(ASID, iova, true), granule->lg2, (unsigned)number - 1, scale, 3);
        smmu_issue(&rig.smmu, &tlbi);
        commands++;
        iova += (number << scale) << granule->lg2;
        pages -= number << scale;
    }
    smmu_sync(&rig.smmu);
    return commands;
}

static void test_flush(const struct granule *granule)
{
    const unsigned pages[] = {3, 100, 500, 1000, 1002};
    bool good = true;

    map_and_use(granule, pages, ARRAY_COUNT(pages));
    unsigned commands = flush(granule, page_iova(granule, 3), 1000);
    for (unsigned i = 0; i < ARRAY_COUNT(pages); i++)
        good = good && forgotten(page_iova(granule, pages[i]));
    check(good, "1000 pages are forgotten by %u commands", commands);
}

int main(void)
{
    test_begin("range_tlbi: invalidation by range and level");
    if (!rig_start(&rig, &RIG_CONFIG_DEFAULT))
        return test_end();
    if (!(rig.smmu.idr3 & IDR3_RIL))
        return test_absent("invalidation by range (SMMU_IDR3.RIL)");

    for (unsigned i = 0; i < ARRAY_COUNT(granules); i++) {
        const struct granule *granule = &granules[i];

        test_section("Granule of %uK", 1u << (granule->lg2 - 10));
        if (!(rig.smmu.idr5 & granule->idr5)) {
            printf("  not implemented by this SMMU\n");
            continue;
        }
        pagetable_init(&table, granule->lg2, 42, false);
        rig_attach(&rig, ASID, &table, NULL);
        issue(smmu_cmd_tlbi(CMD_TLBI_NH_ALL));
        for (unsigned j = 0; j < ARRAY_COUNT(ranges); j++)
            test_range(granule, &ranges[j]);
        test_levels(granule);
        test_flush(granule);
    }
    return test_end();
}
