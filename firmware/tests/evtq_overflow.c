/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An Event queue of 4 entries that overflows (Arm IHI 0070, 7.4).
 *
 * By the architecture a record that finds the queue full is lost, and the SMMU toggles
 * EVENTQ_PROD.OVFLG once until software acknowledges. QEMU signals GERROR.EVENTQ_ABT_ERR instead.
 * This image takes both, and one line of its output, "overflow is signalled by", tells which.
 */
#include "board.h"
#include "console.h"
#include "rig.h"

#define EVTQ_LG2 2
#define EVTQ_ENTRIES 4
#define POSITION_MASK 7 /* the index and the wrap bit */

#define FAULT_IOVA(n) (0x10000000ul + 0x1000 * (n))

static struct rig rig;

static uint32_t prod(void)
{
    return smmu_read(&rig.smmu, SMMU_EVENTQ_PROD) & POSITION_MASK;
}

static uint32_t cons(void)
{
    return smmu_read(&rig.smmu, SMMU_EVENTQ_CONS) & POSITION_MASK;
}

static bool full(void)
{
    return (prod() ^ cons()) == EVTQ_ENTRIES;
}

/* One faulting DMA whose record may or may not find a place. */
static void fault(unsigned n)
{
    testdev_dma(&rig.dev, FAULT_IOVA(n), DMA_BASE, 4);
}

static void expect_record(unsigned n)
{
    struct smmu_event event = {0};
    bool good = smmu_event_pop(&rig.smmu, &event) &&
                smmu_event_type(&event) == EVENT_F_TRANSLATION && event.dw[2] == FAULT_IOVA(n);

    check(good, "the record of fault %u is the next", n);
}

enum signal { SIGNAL_NONE, SIGNAL_FLAG, SIGNAL_ERROR };

/* How the loss is signalled. */
static enum signal signalled(void)
{
    bool flag = smmu_event_queue_overflowed(&rig.smmu);
    uint32_t errors = smmu_gerror_active(&rig.smmu);

    if (flag && !errors)
        return SIGNAL_FLAG;
    return !flag && errors == GERROR_EVENTQ_ABT_ERR ? SIGNAL_ERROR : SIGNAL_NONE;
}

static void acknowledge(enum signal how)
{
    if (how == SIGNAL_FLAG)
        smmu_event_queue_acknowledge_overflow(&rig.smmu);
    else
        smmu_gerror_acknowledge(&rig.smmu, GERROR_EVENTQ_ABT_ERR);
    check(!smmu_event_queue_overflowed(&rig.smmu) && !smmu_gerror_active(&rig.smmu),
          "acknowledged, nothing is signalled");
}

static enum signal test_overflow(unsigned first)
{
    enum signal how;

    test_section("7 faults from %u on, into a queue of 4", first);
    for (unsigned i = 0; i < EVTQ_ENTRIES; i++)
        fault(first + i);
    check(full(), "after 4 the queue is full");
    check(!smmu_event_queue_overflowed(&rig.smmu) && !smmu_gerror_active(&rig.smmu),
          "and nothing is signalled");
    for (unsigned i = EVTQ_ENTRIES; i < 7; i++)
        fault(first + i);
    check(full(), "after 7 it is full still");
    how = signalled();
    check(how != SIGNAL_NONE, "the loss is signalled, in one way");
    acknowledge(how);
    for (unsigned i = 0; i < EVTQ_ENTRIES; i++)
        expect_record(first + i);
    check(rig_no_events(&rig), "the later 3 are lost");
    return how;
}

static void test_after(unsigned first)
{
    test_section("Then 6 faults from %u on, each read at once", first);
    for (unsigned i = first; i < first + 6; i++) {
        fault(i);
        expect_record(i);
    }
    check(rig_no_events(&rig), "none besides");
}

static void test_disabled(void)
{
    test_section("A fault while EVENTQEN = 0");
    smmu_cr0_clear(&rig.smmu, CR0_EVENTQEN);
    fault(0);
    smmu_cr0_set(&rig.smmu, CR0_EVENTQEN);
    check(rig_no_events(&rig), "it is not recorded");
    check(!smmu_event_queue_overflowed(&rig.smmu) && !smmu_gerror_active(&rig.smmu),
          "and nothing is signalled");
}

int main(void)
{
    struct smmu_config config = RIG_CONFIG_DEFAULT;
    struct pagetable table;

    test_begin("evtq_overflow: more faults than the Event queue has entries");
    config.evtq_lg2 = EVTQ_LG2;
    if (!rig_start(&rig, &config))
        return test_end();
    pagetable_init(&table, 12, 39, false);
    rig_attach(&rig, 1, &table, NULL);

    enum signal first = test_overflow(0);
    printf("  overflow is signalled by %s\n",
           first == SIGNAL_FLAG ? "EVENTQ_PROD.OVFLG"
                                : "GERROR.EVENTQ_ABT_ERR, against the architecture");
    test_after(10);
    check(test_overflow(20) == first, "it is signalled as before");
    test_disabled();
    return test_end();
}
