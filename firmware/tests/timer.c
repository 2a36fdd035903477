/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The generic timer of EL1 (DDI 0487 D12): the core sleeps in WFI until its interrupt comes.
 */
#include "board.h"
#include "check.h"
#include "gic.h"
#include "mmio.h"
#include "sysreg.h"

#define CTL_ENABLE BIT(0)
#define CTL_IMASK BIT(1)
#define CTL_ISTATUS BIT(2)

#define TICKS 5

static volatile unsigned ticks;

/* The interrupt's line stays up until the timer is stopped or set anew. */
static void on_timer(void)
{
    ticks++;
    sysreg_write(cntp_ctl_el0, 0);
    isb();
}

static void set_timer(uint64_t deadline, uint64_t control)
{
    sysreg_write(cntp_cval_el0, deadline);
    sysreg_write(cntp_ctl_el0, control);
    isb();
}

static uint64_t now(void)
{
    isb();
    return sysreg_read(cntpct_el0);
}

static void test_ticks(uint64_t millisecond)
{
    for (unsigned i = 1; i <= TICKS; i++) {
        uint64_t deadline = now() + millisecond;

        set_timer(deadline, CTL_ENABLE);
        while (ticks < i) {
            wfi();
            irq_enable();
            isb();
            irq_disable();
        }
        check(now() >= deadline && ticks == i, "tick %u, not before its time", i);
    }
}

static void test_status(uint64_t millisecond)
{
    set_timer(now() + 1000 * millisecond, CTL_ENABLE | CTL_IMASK);
    check(!(sysreg_read(cntp_ctl_el0) & CTL_ISTATUS), "ISTATUS is 0 before the time");
    set_timer(now(), CTL_ENABLE | CTL_IMASK);
    check(sysreg_read(cntp_ctl_el0) & CTL_ISTATUS, "ISTATUS is 1 after it");
    irq_enable();
    isb();
    irq_disable();
    check(ticks == TICKS, "with IMASK there is no interrupt");
    set_timer(now(), 0);
}

int main(void)
{
    uint64_t millisecond = sysreg_read(cntfrq_el0) / 1000;

    test_begin("timer: WFI until the generic timer's interrupt");
    sysreg_write(cntp_ctl_el0, 0);
    gic_init();
    gic_enable(IRQ_TIMER, GIC_LEVEL, on_timer);
    test_ticks(millisecond);
    test_status(millisecond);
    return test_end();
}
