/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * DMA over instructions that have run: the core must run the new ones.
 *
 * The device's pattern 0x12345678 is itself an instruction: AND w24, w19, #0xfffff003.
 */
#include "board.h"
#include "console.h"
#include "mmio.h"
#include "rig.h"

#define MOVZ_W24_1 0x52800038u /* movz w24, #1 */
#define RET 0xd65f03c0u

#define CODE_PA (DMA_BASE + 0x8000)
#define CODE_IOVA 0x00480000ul

static struct rig rig;

/* What software owes the core after it, or a device, has written instructions (DDI 0487 B2.7.4). */
static void synchronize_code(uintptr_t address)
{
    __asm__ volatile("dc cvau, %0\n dsb ish\n ic ivau, %0\n dsb ish\n isb" : : "r"(address)
                     : "memory");
}

static uint32_t call(uintptr_t code, uint32_t w19)
{
    register uint64_t x19 __asm__("x19") = w19;
    register uint64_t x24 __asm__("x24") = 0;

    __asm__ volatile("blr %2" : "+r"(x24) : "r"(x19), "r"(code) : "x30", "memory");
    return (uint32_t)x24;
}

int main(void)
{
    struct pagetable table;
    volatile uint32_t *code = (volatile uint32_t *)CODE_PA;

    test_begin("dma_code: DMA over instructions that have run");
    if (!rig_start(&rig, &RIG_CONFIG_DEFAULT))
        return test_end();
    pagetable_init(&table, 12, 39, false);
    pagetable_map(&table, CODE_IOVA, CODE_PA, 3, PTE_READ_WRITE);
    rig_attach(&rig, 1, &table, NULL);

    code[0] = MOVZ_W24_1;
    code[1] = RET;
    synchronize_code(CODE_PA);
    check(call(CODE_PA, 0xffffffff) == 1, "the code that the core wrote runs");
    check(call(CODE_PA, 0xffffffff) == 1, "and once more");

    check(testdev_dma(&rig.dev, CODE_IOVA, CODE_PA, 4) == TESTDEV_OK && rig_no_events(&rig),
          "DMA replaces its first instruction");
    synchronize_code(CODE_PA);
    check(call(CODE_PA, 0xffffffff) == 0xfffff003, "the code that the device wrote runs");
    check(call(CODE_PA, 0x00012345) == 0x00012001, "and takes its operand");
    return test_end();
}
