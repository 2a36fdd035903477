/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The generic timer of an AArch32 core, its interrupts by the GIC, and WFI that they end. */
#include "a32.h"

#define ENABLE 1u
#define ISTATUS 4u
#define PPI_VIRTUAL_TIMER 27

static volatile unsigned fired;
static volatile unsigned last;

static void handle(unsigned id)
{
    fired++;
    last = id;
    if (id == IRQ_TIMER)
        cp15_write(0, c14, c2, 1, 0);
    else
        cp15_write(0, c14, c3, 1, 0);
}

static void wait(void)
{
    __asm__ volatile("cpsid i" : : : "memory");
    while (!fired)
        __asm__ volatile("dsb sy\n wfi\n cpsie i\n isb\n cpsid i" : : : "memory");
}

static void test_counter(void)
{
    uint64_t physical = cp15_read64(0, c14), virtual = cp15_read64(1, c14);

    section("The counters");
    check(cp15_read(0, c14, c0, 0) == 62500000, "CNTFRQ is %u", cp15_read(0, c14, c0, 0));
    while (cp15_read64(0, c14) == physical)
        ;
    check(cp15_read64(0, c14) > physical && cp15_read64(1, c14) > virtual, "they count upwards");
}

static void test_physical(void)
{
    section("The physical timer");
    interrupt_handler = handle;
    gic_enable(IRQ_TIMER);
    fired = 0;
    uint64_t begin = cp15_read64(0, c14);
    cp15_write(0, c14, c2, 0, 50000); /* CNTP_TVAL */
    cp15_write(0, c14, c2, 1, ENABLE);
    wait();
    check(fired == 1 && last == IRQ_TIMER, "WFI is ended by interrupt %u", last);
    check(cp15_read64(0, c14) - begin >= 50000, "not before its time");
}

static void test_virtual(void)
{
    section("The virtual timer");
    gic_enable(PPI_VIRTUAL_TIMER);
    fired = 0;
    uint64_t until = cp15_read64(1, c14) + 30000;
    cp15_write64(3, c14, until); /* CNTV_CVAL */
    check(cp15_read64(3, c14) == until, "its compare value is kept");
    cp15_write(0, c14, c3, 1, ENABLE);
    check(cp15_read(0, c14, c3, 1) == ENABLE, "it runs");
    wait();
    check(fired == 1 && last == PPI_VIRTUAL_TIMER, "WFI is ended by interrupt %u", last);
    check(cp15_read64(1, c14) >= until, "not before its time");
    cp15_write(0, c14, c3, 1, ENABLE | 2); /* masked */
    check(cp15_read(0, c14, c3, 1) == (ENABLE | 2 | ISTATUS), "its status is seen while masked");
    cp15_write(0, c14, c3, 1, 0);
}

static uint32_t call_firmware(uint32_t function)
{
    register uint32_t r0 __asm__("r0") = function;

    __asm__ volatile(".arch_extension virt\n hvc #0" : "+r"(r0) : : "r1", "r2", "r3", "memory");
    return r0;
}

int main(void)
{
    print("The generic timer of an AArch32 core\n");
    test_counter();
    test_physical();
    test_virtual();
    section("PSCI");
    check(call_firmware(0x84000000) >= 0x10000, "there is a version");
    return test_end();
}
