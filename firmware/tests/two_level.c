/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A two-level Stream table (Arm IHI 0070, 3.3.1.2), and both halves of the address space: TTB0 for
 * addresses that begin with zeros, TTB1 for those that begin with ones.
 */
#include "board.h"
#include "console.h"
#include "mmio.h"
#include "rig.h"

#define SPLIT 8
#define SID_LG2 16

static struct rig rig;

#define LOWER_IOVA 0x0000000000203000ul
#define LOWER_PA (DMA_BASE + 0x1000)
#define LAST_PAGE 0x1000ul

static const struct half {
    const char *name;
    unsigned granule_lg2;
    unsigned va_bits;
    unsigned level;
    uint64_t iova; /* of a page, in the upper half */
    uint64_t block_iova;
    uint32_t idr5;
} halves[] = {
    {"4K granule, 39 bits", 12, 39, 2, 0xffffff8000123000, 0xffffffffc0600000, IDR5_GRAN4K},
    {"4K granule, 48 bits", 12, 48, 2, 0xffff000000123000, 0xffffffffffe00000, IDR5_GRAN4K},
    {"16K granule, 47 bits", 14, 47, 2, 0xffff800000124000, 0xfffffffffe000000, IDR5_GRAN16K},
    {"64K granule, 42 bits", 16, 42, 2, 0xfffffc0000120000, 0xffffffffe0000000, IDR5_GRAN64K},
};

static uint64_t block_pa(const struct pagetable *table, unsigned level)
{
    uint64_t size = pagetable_leaf_size(table, level);

    return DMA_BASE & -size;
}

/* The lower half keeps a 4K granule while the upper one changes its own. */
static void test_half(const struct half *half, uint16_t asid)
{
    struct pagetable lower, upper;
    uint64_t below = -(1ul << half->va_bits) - 0x1000;

    test_section("TTB1: %s; TTB0: 4K granule, 39 bits", half->name);
    if (!(rig.smmu.idr5 & half->idr5)) {
        printf("  not implemented by this SMMU\n");
        return;
    }
    pagetable_init(&lower, 12, 39, false);
    pagetable_init(&upper, half->granule_lg2, half->va_bits, true);
    pagetable_map(&lower, LOWER_IOVA, LOWER_PA, 3, PTE_READ_WRITE);
    pagetable_map(&upper, half->iova, DMA_BASE + 0x10000, 3, PTE_READ_WRITE);
    pagetable_map(&upper, half->block_iova, block_pa(&upper, half->level), half->level,
                  PTE_READ_WRITE);
    rig_attach(&rig, asid, &lower, &upper);

    uint64_t in_block = DMA_BASE + 0x4560 - block_pa(&upper, half->level);
    check_dma_lands(&rig, LOWER_IOVA + 0x40, LOWER_PA + 0x40, "page by TTB0");
    check_dma_lands(&rig, half->iova + 0xabc, DMA_BASE + 0x10abc, "page by TTB1");
    check_dma_lands(&rig, half->block_iova + in_block, DMA_BASE + 0x4560, "block by TTB1");
    check_dma_faults(&rig, half->iova + 0x100000, EVENT_F_TRANSLATION, "not mapped by TTB1");
    check_dma_faults(&rig, below, EVENT_F_TRANSLATION, "just below the range of TTB1");
    check_dma_faults(&rig, 1ul << 39, EVENT_F_TRANSLATION, "just above the range of TTB0");
}

static void test_only_upper(void)
{
    struct pagetable upper;
    const uint64_t last = -LAST_PAGE;

    test_section("TTB1 alone: CD.EPD0 = 1");
    pagetable_init(&upper, 12, 39, true);
    pagetable_map(&upper, last, DMA_BASE + 0x2000, 3, PTE_READ_WRITE);
    rig_attach(&rig, 20, NULL, &upper);
    check_dma_lands(&rig, last + 0xffc, DMA_BASE + 0x2ffc, "the last word of all addresses");
    check_dma_faults(&rig, LOWER_IOVA, EVENT_F_TRANSLATION, "in the disabled half");
}

/* Level 1 descriptors as they should not be; the good one comes back at the end. */
static void test_level1(void)
{
    volatile uint64_t *descriptor = &rig.smmu.strtab[rig.sid >> SPLIT];
    uint64_t good = *descriptor;
    const uint64_t table = good & L1STD_L2PTR;
    const struct {
        const char *what;
        uint64_t descriptor;
        unsigned type;
    } cases[] = {
        {"Span = 0: there is no level 2 table", table, EVENT_C_BAD_STREAMID},
        {"Span = SPLIT + 2: too large", table | (SPLIT + 2), EVENT_C_BAD_STREAMID},
        {"Span = 31: reserved", table | 31, EVENT_C_BAD_STREAMID},
        {"the level 2 table is nowhere", NOWHERE_BASE | (SPLIT + 1), EVENT_F_STE_FETCH},
    };

    test_section("Level 1 descriptors");
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        *descriptor = cases[i].descriptor;
        dma_write_barrier();
        smmu_issue_sync(&rig.smmu, smmu_cmd_cfgi_ste(rig.sid, false));
        check_dma_faults(&rig, LOWER_IOVA, cases[i].type, cases[i].what);
    }
    *descriptor = table | 5; /* 2^4 entries, enough for StreamID 8 */
    dma_write_barrier();
    smmu_issue_sync(&rig.smmu, smmu_cmd_cfgi_ste(rig.sid, false));
    check_dma_lands(&rig, -4ul, DMA_BASE + 0x2ffc, "Span = 5: 16 entries are enough");
    *descriptor = good;
    dma_write_barrier();
    smmu_issue_sync(&rig.smmu, smmu_cmd_cfgi_ste(rig.sid, false));
}

int main(void)
{
    struct smmu_config config = RIG_CONFIG_DEFAULT;

    test_begin("two_level: a two-level Stream table, and TTB1");
    config.sid_lg2 = SID_LG2;
    config.split = SPLIT;
    if (!rig_start(&rig, &config))
        return test_end();
    if (field_get(IDR0_ST_LEVEL, rig.smmu.idr0) != IDR0_ST_LEVEL_TWO) {
        check(false, "this SMMU has two-level Stream tables");
        return test_end();
    }
    printf("%u level 1 descriptors of %u StreamIDs each\n", 1u << (SID_LG2 - SPLIT), 1u << SPLIT);

    for (unsigned i = 0; i < ARRAY_COUNT(halves); i++)
        test_half(&halves[i], (uint16_t)(10 + i));
    test_only_upper();
    test_level1();
    return test_end();
}
