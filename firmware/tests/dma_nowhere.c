/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * DMA that translates well, to a physical address where nothing is: the device is refused, and
 * the SMMU has nothing to record.
 */
#include "board.h"
#include "console.h"
#include "rig.h"

static struct rig rig;

static void check_lost(uint64_t iova, uint64_t pa)
{
    uint32_t result = testdev_dma(&rig.dev, iova, pa, 4);

    check(result == TESTDEV_WRITE_FAILED && rig_no_events(&rig),
          "iova 0x%lx, to 0x%lx: the device says: %s", iova, pa, testdev_result_name(result));
}

int main(void)
{
    struct pagetable table;

    test_begin("dma_nowhere: DMA to addresses where nothing is");
    if (!rig_start(&rig, &RIG_CONFIG_DEFAULT))
        return test_end();
    pagetable_init(&table, 12, 39, false);
    pagetable_map(&table, 0x1000, NOWHERE_BASE, 3, PTE_READ_WRITE);
    pagetable_map(&table, 0x2000, RAM_BASE + RAM_SIZE, 3, PTE_READ_WRITE);
    pagetable_map(&table, 0x3000, RAM_BASE + RAM_SIZE - 0x1000, 3, PTE_READ_WRITE);
    pagetable_map(&table, 0x40000000, NOWHERE_BASE, 1, PTE_READ_WRITE);
    rig_attach(&rig, 1, &table, NULL);

    check_lost(0x1000, NOWHERE_BASE);
    check_lost(0x2000, RAM_BASE + RAM_SIZE);
    check_lost(0x7ffffffc, NOWHERE_BASE + 0x3ffffffc);
    check_dma_lands(&rig, 0x3000, RAM_BASE + RAM_SIZE - 0x1000, "the last page of RAM");
    return test_end();
}
