/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A small hypervisor (DDI 0487 D1.3, D8, D12): its own translation at EL2, a guest at EL1 below
 * stage 2, what the guest asks for and what is trapped, and interrupts that go to EL2, or to EL1,
 * or to EL1 as virtual ones.
 */
#include "el2.h"

#include "board.h"
#include "check.h"
#include "console.h"
#include "exception.h"
#include "gic.h"
#include "mmio.h"
#include "semihosting.h"
#include "sysreg.h"

EL2_IMAGE;

#define ESR_EC_WFX 0x01
#define ESR_EC_HVC64 0x16
#define ESR_EC_SMC64 0x17
#define ESR_EC_SYSREG 0x18
#define ESR_EC_DATA_ABORT_LOWER 0x24
#define ESR_SYSREG_RT BITS(9, 5)

#define HVC_ADD_ONE 1
#define HVC_TAKEN 2 /* the guest took its virtual interrupt */

#define PSCI_VERSION 0x84000000
#define PSCI_NOT_SUPPORTED (-1ul)

#define IRQ_HYP_TIMER PPI(10)
#define CTL_ENABLE BIT(0)
#define CNTHCTL_ALL (BIT(0) | BIT(1)) /* EL1 has counter and timer to itself */

#define GUEST (HCR_RW | HCR_VM)
#define HOLE 0x48000000ul     /* what stage 2 lacks at first */
#define HOLE_PA 0x49000000ul  /* and where it leads then */
#define PATTERN 0x0123456789abcdeful

static struct el2_frame taken;
static unsigned taken_count;
static unsigned hyp_ticks, guest_ticks;
static volatile unsigned virtual_irqs;
static uint64_t guest_x0;

static unsigned class_of(const struct el2_frame *frame)
{
    return (unsigned)field_get(ESR_EC, frame->esr);
}

static bool take_call(struct el2_frame *frame)
{
    switch (frame->esr & 0xffff) {
    case HVC_ADD_ONE:
        frame->x[0]++;
        return true;
    case HVC_TAKEN:
        sysreg_write(hcr_el2, sysreg_read(hcr_el2) & ~HCR_VI);
        return true;
    }
    return false;
}

/* Emulates an instruction of the guest, and goes on behind it. */
static bool emulate(struct el2_frame *frame)
{
    switch (class_of(frame)) {
    case ESR_EC_WFX:
        break;
    case ESR_EC_SMC64:
        frame->x[0] = PSCI_NOT_SUPPORTED;
        break;
    case ESR_EC_SYSREG:
        frame->x[field_get(ESR_SYSREG_RT, frame->esr)] = 1234;
        break;
    default:
        return false;
    }
    frame->elr += 4;
    return true;
}

bool el2_exception(struct el2_frame *frame, unsigned vector)
{
    if (vector == EL2_VECTOR_IRQ || vector == EL2_VECTOR_LOWER_IRQ) {
        taken = *frame;
        return gic_dispatch();
    }
    if (vector != EL2_VECTOR_LOWER_SYNC)
        return false;
    taken = *frame;
    taken_count++;
    switch (class_of(frame)) {
    case ESR_EC_HVC64:
        return take_call(frame);
    case ESR_EC_DATA_ABORT_LOWER:
        stage2_map(HOLE, HOLE_PA);
        return true;
    default:
        return emulate(frame);
    }
}

static void start_again(void)
{
    taken_count = 0;
    taken = (struct el2_frame){0};
}

/* -- what the guest does */

static void guest_adds(void)
{
    check(field_get(BITS(3, 2), sysreg_read(CurrentEL)) == 1, "the guest is at EL1");
    guest_x0 = hvc(HVC_ADD_ONE, 41);
}

static bool skip_undefined(struct exception_frame *frame, unsigned vector)
{
    if (vector % 4 != VECTOR_SYNC || field_get(ESR_EC, frame->esr) != ESR_EC_UNKNOWN)
        return false;
    frame->elr += 4;
    virtual_irqs++;
    return true;
}

static void guest_is_curious(void)
{
    virtual_irqs = 0;
    exception_hook_set(skip_undefined);
    __asm__ volatile("mrs x0, hcr_el2" : : : "x0");
    exception_hook_set(0);
    check(virtual_irqs == 1, "a register of EL2 is undefined there, and EL1 takes that itself");
}

static void guest_touches_the_hole(void)
{
    write64(HOLE + 0x1238, PATTERN);
}

static void guest_waits(void)
{
    wfi();
}

static void guest_calls_firmware(void)
{
    register uint64_t x0 __asm__("x0") = PSCI_VERSION;

    __asm__ volatile("smc #3" : "+r"(x0) : : "x1", "x2", "x3", "memory");
    guest_x0 = x0;
}

static void guest_reads_the_counter(void)
{
    guest_x0 = sysreg_read(cntpct_el0);
}

static bool take_virtual(struct exception_frame *frame, unsigned vector)
{
    (void)frame;
    if (vector % 4 != VECTOR_IRQ)
        return false;
    virtual_irqs++;
    hvc(HVC_TAKEN, 0);
    return true;
}

static void guest_spins(void)
{
    exception_hook_set(take_virtual);
    irq_enable();
    while (!virtual_irqs)
        ;
    irq_disable();
    exception_hook_set(0);
}

static void on_guest_timer(void)
{
    guest_ticks++;
    sysreg_write(cntp_ctl_el0, 0);
    isb();
}

static void guest_has_a_timer(void)
{
    sysreg_write(cntp_cval_el0, sysreg_read(cntpct_el0) + 5000);
    sysreg_write(cntp_ctl_el0, CTL_ENABLE);
    isb();
    while (!guest_ticks) {
        wfi();
        irq_enable();
        isb();
        irq_disable();
    }
}

/* -- what is tested */

static void test_own_translation(void)
{
    test_section("EL2's own translation");
    write64(DMA_BASE, PATTERN);
    el2_mmu_enable();
    check(read64(DMA_BASE) == PATTERN, "RAM is where it was");
    check(read64(DMA_BASE - RAM_BASE + EL2_ALIAS) == PATTERN, "and at another address");
}

static void test_firmware(void)
{
    register uint64_t x0 __asm__("x0") = PSCI_VERSION;

    __asm__ volatile("smc #0" : "+r"(x0) : : "x1", "x2", "x3", "memory");
    check(x0 >= 0x10000 && x0 < 0x20000, "SMC leads to PSCI 1.x");
}

static void test_calls(void)
{
    test_section("Down to EL1, and back by HVC");
    guest_run(guest_adds, GUEST);
    check(guest_x0 == 42, "HVC #1 gives 41 + 1");
    check(taken_count == 1 && class_of(&taken) == ESR_EC_HVC64 && (taken.spsr & 0xf) == 5,
          "ESR 0x%lx, it comes from EL1h", taken.esr);
    guest_run(guest_is_curious, GUEST);
}

static void test_stage2(void)
{
    test_section("Stage 2");
    check(translate_for_guest(HOLE) & PAR_FAULT, "AT S12E1R finds the hole");
    start_again();
    guest_run(guest_touches_the_hole, GUEST);
    check(taken_count == 1 && class_of(&taken) == ESR_EC_DATA_ABORT_LOWER,
          "a store there comes to EL2: FAR 0x%lx, HPFAR 0x%lx", taken.far, taken.hpfar);
    check((taken.esr & 0x7f) == 0x46, "it is a write, a translation fault of level 2");
    check(read64(HOLE_PA + 0x1238) == PATTERN, "mapped elsewhere, it was done again");
    check((translate_for_guest(HOLE) & PAR_ADDRESS) == HOLE_PA, "AT S12E1R agrees");
}

static void test_traps(void)
{
    test_section("What a hypervisor wants to know of");
    start_again();
    guest_run(guest_waits, GUEST | HCR_TWI);
    check(class_of(&taken) == ESR_EC_WFX && !(taken.esr & 1), "WFI (TWI)");
    guest_run(guest_calls_firmware, GUEST | HCR_TSC);
    check(class_of(&taken) == ESR_EC_SMC64 && guest_x0 == PSCI_NOT_SUPPORTED,
          "SMC (TSC): ESR 0x%lx", taken.esr);
    sysreg_write(cnthctl_el2, 0);
    guest_run(guest_reads_the_counter, GUEST);
    check(class_of(&taken) == ESR_EC_SYSREG && guest_x0 == 1234, "CNTPCT_EL0 (EL1PCTEN)");
    check((taken.esr & ~field_put(ESR_SYSREG_RT, 31)) == 0x6232f801, "with its syndrome");
    sysreg_write(cnthctl_el2, CNTHCTL_ALL);
}

static void hyp_timer_start(void)
{
    sysreg_write(cnthp_cval_el2, sysreg_read(cntpct_el0) + 5000);
    sysreg_write(cnthp_ctl_el2, CTL_ENABLE);
    isb();
}

static void on_hyp_timer(void)
{
    hyp_ticks++;
    sysreg_write(cnthp_ctl_el2, 0);
    sysreg_write(hcr_el2, sysreg_read(hcr_el2) | HCR_VI);
    isb();
}

static void test_interrupts_of_el2(void)
{
    test_section("Interrupts that go to EL2");
    gic_init();
    gic_enable(IRQ_HYP_TIMER, GIC_LEVEL, on_hyp_timer);
    sysreg_write(hcr_el2, HCR_IMO);
    hyp_timer_start();
    while (!hyp_ticks) {
        wfi();
        irq_enable();
        isb();
        irq_disable();
    }
    check(hyp_ticks == 1 && (taken.spsr & 0xf) == 9, "EL2's timer, taken at EL2");
    virtual_irqs = 0;
    hyp_timer_start();
    guest_run(guest_spins, GUEST | HCR_IMO);
    check(hyp_ticks == 2 && (taken.spsr & 0xf) == 5, "and again, while the guest spins");
    check(virtual_irqs == 1, "which takes a virtual interrupt (VI) then");
}

static void test_interrupts_of_el1(void)
{
    test_section("Interrupts that go to EL1");
    sysreg_write(hcr_el2, 0);
    gic_enable(IRQ_TIMER, GIC_LEVEL, on_guest_timer);
    start_again();
    guest_run(guest_has_a_timer, GUEST);
    check(guest_ticks == 1, "EL1's timer, taken at EL1");
    check(taken_count == 0 && hyp_ticks == 2, "EL2 knows nothing of it");
}

int main(void)
{
    test_begin("el2: a hypervisor and its guest");
    if (field_get(BITS(3, 2), sysreg_read(CurrentEL)) != 2)
        return test_absent("a start at EL2");
    test_section("The start");
    check(1, "at EL2");
    test_firmware();
    test_own_translation();
    stage2_build(HOLE);
    test_calls();
    test_stage2();
    test_traps();
    test_interrupts_of_el2();
    test_interrupts_of_el1();
    return test_end();
}
