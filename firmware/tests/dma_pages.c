/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * DMA through pages and blocks of every granule, by tables that this image writes itself.
 *
 * The mappings of a granule share one table and one address space, so that the leaves of different
 * levels stand side by side. A linear Stream table leads to it.
 */
#include "board.h"
#include "console.h"
#include "rig.h"

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)

struct leaf {
    const char *name;
    unsigned level;
    uint64_t iova; /* start of the page or block */
    uint64_t pa;
    uint64_t offset; /* where in it the DMA goes: somewhere in our RAM */
};

struct granule {
    const char *name;
    unsigned granule_lg2;
    unsigned va_bits;
    uint32_t idr5;
    struct leaf leaves[4];
};

/* Blocks larger than the RAM's start being aligned to them begin at 0x40000000. */
static const struct granule granules[] = {
    {"4K granule, 39 bits", 12, 39, IDR5_GRAN4K, {
        {"4K page", 3, 0x0000203000, DMA_BASE + 0x1000, 0x040},
        {"another 4K page", 3, 0x0000204000, DMA_BASE + 0x9000, 0xffc},
        {"2M block", 2, 0x0040600000, DMA_BASE + MIB(2), 0x123458},
        {"1G block", 1, 0x5080000000, RAM_BASE, DMA_BASE - RAM_BASE + 0x234560},
    }},
    {"4K granule, 48 bits", 12, 48, IDR5_GRAN4K, {
        {"4K page", 3, 0xfffffffff000, DMA_BASE + 0x3000, 0x800},
        {"4K page at 0", 3, 0, DMA_BASE + 0x4000, 0},
        {"2M block", 2, 0x123456600000, DMA_BASE + MIB(4), 0x1ffffc},
        {"1G block", 1, 0x7f0040000000, RAM_BASE, DMA_BASE - RAM_BASE + 0x76540},
    }},
    {"16K granule, 47 bits", 14, 47, IDR5_GRAN16K, {
        {"16K page", 3, 0x00001004000, DMA_BASE + 0x8000, 0x3ffc},
        {"another 16K page", 3, 0x00001008000, DMA_BASE + 0x4000, 0x1230},
        {"32M block", 2, 0x00082000000, DMA_BASE, 0x1abcde0},
        {"32M block, high", 2, 0x7fabc2000000, DMA_BASE + MIB(32), 0x4567c},
    }},
    {"64K granule, 42 bits", 16, 42, IDR5_GRAN64K, {
        {"64K page", 3, 0x00000230000, DMA_BASE + 0x10000, 0xfffc},
        {"another 64K page", 3, 0x00000240000, DMA_BASE + 0x70000, 0x8a40},
        {"512M block", 2, 0x00160000000, RAM_BASE, DMA_BASE - RAM_BASE + 0x345678},
        {"512M block, high", 2, 0x3ffe0000000, RAM_BASE, DMA_BASE - RAM_BASE + 0x13579bc},
    }},
    {"64K granule, 48 bits", 16, 48, IDR5_GRAN64K, {
        {"64K page", 3, 0xffff00000000, DMA_BASE + 0x20000, 0x40},
        {"64K page at 0", 3, 0, DMA_BASE + 0x30000, 0xf000},
        {"512M block", 2, 0x800020000000, RAM_BASE, DMA_BASE - RAM_BASE + 0x55554},
        {"64K page, high", 3, 0xffffffff0000, DMA_BASE + 0x40000, 0xfffc},
    }},
};

static struct rig rig;

/* One transfer over the border of two pages that lie apart: each part lands in its own page. */
static void check_border(const struct granule *granule)
{
    const struct leaf *first = &granule->leaves[0];
    uint64_t size = (uint64_t)1 << granule->granule_lg2;
    uint64_t tail = first->pa + size - 4;
    uint64_t head = granule->leaves[1].pa;
    volatile uint32_t *last_of_first = (volatile uint32_t *)tail;
    volatile uint32_t *first_of_second = (volatile uint32_t *)head;

    *last_of_first = 0;
    *first_of_second = 0;
    /* The device compares with 8 bytes from tail on, so it sees a mismatch, as it should. */
    uint32_t result = testdev_dma(&rig.dev, first->iova + size - 4, tail, 8);
    check(result == TESTDEV_MISMATCH && *last_of_first == TESTDEV_PATTERN &&
              *first_of_second == TESTDEV_PATTERN && rig_no_events(&rig),
          "8 bytes at 0x%lx land at 0x%lx and 0x%lx", first->iova + size - 4, tail, head);
}

static void test_granule(const struct granule *granule, uint16_t asid)
{
    struct pagetable table;

    test_section("%s", granule->name);
    if (!(rig.smmu.idr5 & granule->idr5)) {
        printf("  not implemented by this SMMU\n");
        return;
    }
    pagetable_init(&table, granule->granule_lg2, granule->va_bits, false);
    printf("  walks start at level %u\n", table.start_level);
    for (unsigned i = 0; i < ARRAY_COUNT(granule->leaves); i++) {
        const struct leaf *leaf = &granule->leaves[i];
        pagetable_map(&table, leaf->iova, leaf->pa, leaf->level, PTE_READ_WRITE);
    }
    rig_attach(&rig, asid, &table, NULL);
    for (unsigned i = 0; i < ARRAY_COUNT(granule->leaves); i++) {
        const struct leaf *leaf = &granule->leaves[i];
        check_dma_lands(&rig, leaf->iova + leaf->offset, leaf->pa + leaf->offset, leaf->name);
    }
    if (granule->leaves[1].iova == granule->leaves[0].iova + KIB(1 << (granule->granule_lg2 - 10)))
        check_border(granule);
}

int main(void)
{
    test_begin("dma_pages: DMA through pages and blocks of every granule");
    if (!rig_start(&rig, &RIG_CONFIG_DEFAULT))
        return test_end();
    for (unsigned i = 0; i < ARRAY_COUNT(granules); i++)
        test_granule(&granules[i], (uint16_t)(i + 1));
    return test_end();
}
