/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The virtual CPU interface of a GICv3 (Arm IHI 0069 6): what a hypervisor puts into list registers
 * its guest takes by ICC_*, and what the hypervisor is told of that.
 */
#include "board.h"
#include "check.h"
#include "console.h"
#include "el2.h"
#include "exception.h"
#include "gicv3.h"
#include "mmio.h"
#include "sysreg.h"

EL2_IMAGE;

#define ICH_AP1R0 s3_4_c12_c9_0
#define ICH_HCR s3_4_c12_c11_0
#define ICH_HCR_EN BIT(0)
#define ICH_HCR_UIE BIT(1)
#define ICH_HCR_LRENPIE BIT(2)
#define ICH_HCR_NPIE BIT(3)
#define ICH_HCR_VGRP1DIE BIT(7)
#define ICH_HCR_TC BIT(10)
#define ICH_HCR_TALL1 BIT(12)
#define ICH_HCR_EOICOUNT BITS(31, 27)
#define ICH_VTR s3_4_c12_c11_1
#define ICH_MISR s3_4_c12_c11_2
#define ICH_EISR s3_4_c12_c11_3
#define ICH_ELRSR s3_4_c12_c11_5
#define ICH_VMCR s3_4_c12_c11_7
#define ICH_VMCR_ON (BIT(1) | field_put(BITS(31, 24), 0xf8)) /* Group 1, every priority */
#define ICH_LR0 s3_4_c12_c12_0
#define ICH_LR1 s3_4_c12_c12_1
#define LR_GROUP1 BIT(60)
#define LR_HW BIT(61)
#define LR_PENDING BIT(62)
#define LR_ACTIVE BIT(63)
#define LR_EOI BIT(41)
#define LR(number, priority) \
    (LR_PENDING | LR_GROUP1 | (uint64_t)(priority) << 48 | (number))

#define ICC_IAR1 s3_0_c12_c12_0
#define ICC_EOIR1 s3_0_c12_c12_1
#define ICC_HPPIR1 s3_0_c12_c12_2
#define ICC_BPR1 s3_0_c12_c12_3
#define ICC_CTLR s3_0_c12_c12_4
#define ICC_CTLR_EOIMODE BIT(1)
#define ICC_RPR s3_0_c12_c11_3
#define ICC_DIR s3_0_c12_c11_1
#define ICC_SGI1R s3_0_c12_c11_5
#define ICC_PMR s3_0_c4_c6_0

#define rd(name) rd_(name)
#define rd_(name) sysreg_read(name)
#define wr(name, value) wr_(name, value)
#define wr_(name, value) sysreg_write(name, value)

#define IRQ_MAINTENANCE PPI(9)
#define VIRQ 40
#define OTHER 41
#define PHYSICAL 60
#define GICD_ISACTIVER(irq) (GICD_BASE + 0x300 + 4 * ((irq) / 32))
#define GUEST (HCR_RW | HCR_VM | HCR_IMO)
#define ESR_EC_SYSREG 0x18

static unsigned maintenance, reasons;
static uint64_t trapped_esr;
static volatile unsigned taken_by_guest;
static uint64_t seen[8];

bool gic_dispatch(void)
{
    return gicv3_dispatch();
}

bool el2_exception(struct el2_frame *frame, unsigned vector)
{
    if (vector == EL2_VECTOR_IRQ || vector == EL2_VECTOR_LOWER_IRQ)
        return gicv3_dispatch();
    if (vector != EL2_VECTOR_LOWER_SYNC || field_get(ESR_EC, frame->esr) != ESR_EC_SYSREG)
        return false;
    trapped_esr = frame->esr;
    frame->elr += 4;
    return true;
}

static void on_maintenance(void)
{
    maintenance++;
    reasons = (unsigned)rd(ICH_MISR);
    wr(ICH_HCR, 0); /* the line goes down */
    isb();
}

static void on_virtual(void)
{
    taken_by_guest++;
    seen[0] = rd(ICC_RPR);
}

/* A guest whose interface is on, and these two interrupts. */
static void give(uint64_t lr0, uint64_t lr1, uint64_t control)
{
    wr(ICH_HCR, 0);
    wr(ICH_AP1R0, 0);
    wr(ICH_VMCR, ICH_VMCR_ON);
    wr(ICH_LR0, lr0);
    wr(ICH_LR1, lr1);
    wr(ICH_HCR, ICH_HCR_EN | control);
    isb();
    maintenance = reasons = taken_by_guest = 0;
}

static void guest_takes(void)
{
    irq_enable();
    isb();
    irq_disable();
}

static void guest_looks(void)
{
    seen[0] = rd(ICC_PMR);
    seen[1] = rd(ICC_HPPIR1);
    seen[2] = rd(ICC_BPR1);
    seen[3] = rd(ICC_RPR);
}

static void guest_ends_twice(void)
{
    wr(ICC_CTLR, ICC_CTLR_EOIMODE);
    seen[0] = rd(ICC_IAR1);
    seen[1] = rd(ICC_RPR);
    wr(ICC_EOIR1, seen[0]);
    isb();
    seen[2] = rd(ICC_RPR);
}

static void guest_deactivates(void)
{
    wr(ICC_DIR, VIRQ);
}

static void guest_only_acknowledges(void)
{
    seen[0] = rd(ICC_IAR1);
    seen[1] = rd(ICC_IAR1);
}

static void guest_only_ends(void)
{
    wr(ICC_EOIR1, VIRQ);
}

static void guest_masks(void)
{
    wr(ICC_PMR, 0x80);
    seen[0] = rd(ICC_IAR1);
    wr(ICC_PMR, 0xff);
    seen[1] = rd(ICC_IAR1);
    seen[2] = rd(ICC_PMR);
}

static void guest_reads_iar(void)
{
    seen[0] = rd(ICC_IAR1);
}

static void guest_reads_pmr(void)
{
    seen[0] = rd(ICC_PMR);
}

static void guest_sends_an_sgi(void)
{
    wr(ICC_SGI1R, 1);
}

static void test_taking(void)
{
    test_section("A guest takes what it is given");
    give(LR(VIRQ, 0x80), 0, 0);
    check(rd(ICH_ELRSR) == 0xe, "the first list register is in use: ELRSR 0x%lx", rd(ICH_ELRSR));
    guest_run(guest_looks, GUEST);
    check(seen[0] == 0xf8 && seen[1] == VIRQ && seen[3] == 0xff, "PMR 0x%lx, HPPIR %lu, RPR 0x%lx",
          seen[0], seen[1], seen[3]);
    guest_run(guest_takes, GUEST);
    check(taken_by_guest == 1 && seen[0] == 0x80, "once, at running priority 0x%lx", seen[0]);
    check(!(rd(ICH_LR0) & (LR_PENDING | LR_ACTIVE)) && rd(ICH_ELRSR) == 0xf,
          "its list register is empty: ELRSR 0x%lx", rd(ICH_ELRSR));
    give(LR(VIRQ, 0x80), LR(OTHER, 0x40), 0);
    guest_run(guest_only_acknowledges, GUEST);
    check(seen[0] == OTHER && seen[1] == 1023, "priority decides, and no more comes meanwhile");
    check((rd(ICH_LR1) & (LR_PENDING | LR_ACTIVE)) == LR_ACTIVE && rd(ICH_AP1R0) == BIT(8),
          "it is active, AP1R0 0x%lx", rd(ICH_AP1R0));
    give(LR(VIRQ, 0x80), 0, 0);
    guest_run(guest_masks, GUEST);
    check(seen[0] == 1023 && seen[1] == VIRQ && seen[2] == 0xf8, "the guest's own mask");
    give(LR(VIRQ, 0x80) & ~LR_GROUP1, 0, 0);
    guest_run(guest_reads_iar, GUEST);
    check(seen[0] == 1023, "Group 0 is not this register's");
}

static void test_ending(void)
{
    test_section("Ends");
    give(LR(VIRQ, 0x80), 0, 0);
    guest_run(guest_only_acknowledges, GUEST);
    wr(ICH_LR0, 0);
    guest_run(guest_only_ends, GUEST);
    check(field_get(ICH_HCR_EOICOUNT, rd(ICH_HCR)) == 1, "of what is in no list register: EOIcount");
    check(rd(ICH_AP1R0) == 0, "the priority is dropped");
    write32(GICD_ISACTIVER(PHYSICAL), 1u << (PHYSICAL % 32));
    give(LR(VIRQ, 0x80) | LR_HW | field_put(BITS(44, 32), PHYSICAL), 0, 0);
    guest_run(guest_takes, GUEST);
    check(!(read32(GICD_ISACTIVER(PHYSICAL)) & 1u << (PHYSICAL % 32)),
          "of a hardware one: the physical one is active no more");
    give(LR(VIRQ, 0x80), 0, 0);
    guest_run(guest_ends_twice, GUEST);
    check(seen[0] == VIRQ && seen[1] == 0x80 && seen[2] == 0xff && (rd(ICH_LR0) & LR_ACTIVE),
          "split by EOImode: first the priority");
    guest_run(guest_deactivates, GUEST);
    check(!(rd(ICH_LR0) & LR_ACTIVE), "then by DIR the interrupt");
}

static void test_maintenance(void)
{
    static const struct {
        uint64_t lr0, lr1, control;
        const char *why;
    } cases[] = {
        {LR(VIRQ, 0x80) | LR_EOI, 0, 0, "an end that was asked for"},
        {LR(VIRQ, 0x80), LR(OTHER, 0x40), ICH_HCR_UIE, "underflow"},
        {LR(VIRQ, 0x80), 0, ICH_HCR_NPIE, "nothing is pending"},
    };

    test_section("The maintenance interrupt");
    gicv3_enable(IRQ_MAINTENANCE, GIC_LEVEL, on_maintenance);
    for (unsigned n = 0; n < ARRAY_COUNT(cases); n++) {
        give(cases[n].lr0, cases[n].lr1, cases[n].control);
        check(rd(ICH_MISR) == 0, "not yet");
        guest_run(guest_takes, GUEST);
        check(maintenance == 1, "%s: MISR 0x%x", cases[n].why, reasons);
    }
    give(0, 0, ICH_HCR_VGRP1DIE);
    check(rd(ICH_MISR) == 0, "Group 1 is on");
    wr(ICH_VMCR, 0);
    isb();
    check(rd(ICH_MISR) == BIT(7), "Group 1 is off: MISR 0x%lx", rd(ICH_MISR));
    give(LR(VIRQ, 0x80) | LR_EOI, 0, 0);
    wr(ICH_LR0, (LR(VIRQ, 0x80) | LR_EOI) & ~LR_PENDING);
    check(rd(ICH_EISR) == 1 && rd(ICH_ELRSR) == 0xe, "EISR 0x%lx, ELRSR 0x%lx", rd(ICH_EISR),
          rd(ICH_ELRSR));
    wr(ICH_HCR, 0);
}

static void check_trap(void (*function)(void), const char *what)
{
    trapped_esr = 0;
    guest_run(function, GUEST);
    check(field_get(ESR_EC, trapped_esr) == ESR_EC_SYSREG, "%s: ESR 0x%lx", what,
          trapped_esr & ~BITS(9, 5));
}

static void test_traps(void)
{
    test_section("Traps");
    give(LR(VIRQ, 0x80), 0, ICH_HCR_TALL1);
    check_trap(guest_reads_iar, "IAR1 with TALL1");
    give(LR(VIRQ, 0x80), 0, ICH_HCR_TC);
    check_trap(guest_reads_pmr, "PMR with TC");
    give(0, 0, 0);
    check_trap(guest_sends_an_sgi, "SGI1R with IMO alone");
    wr(ICH_HCR, 0);
}

int main(void)
{
    test_begin("vgic: a hypervisor gives its guest interrupts");
    if (field_get(BITS(3, 2), sysreg_read(CurrentEL)) != 2)
        return test_absent("a start at EL2");
    if (!gicv3_here())
        return test_absent("a GICv3");
    gicv3_init();
    gicv3_enable(VIRQ, GIC_EDGE, on_virtual);
    stage2_build(0x48000000ul);
    sysreg_write(hcr_el2, HCR_IMO);
    isb();
    check(field_get(BITS(28, 26), rd(ICH_VTR)) == 4 && field_get(BITS(4, 0), rd(ICH_VTR)) == 3,
          "4 list registers, 5 bits of priority");
    test_taking();
    test_ending();
    test_maintenance();
    test_traps();
    return test_end();
}
