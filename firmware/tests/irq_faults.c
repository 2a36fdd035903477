/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interrupts of the SMMU (Arm IHI 0070, 3.18): the core sleeps in WFI, and handlers do the work.
 */
#include "board.h"
#include "console.h"
#include "gic.h"
#include "mmio.h"
#include "rig.h"
#include "sysreg.h"

#define FAULT_IOVA(n) (0x30000000ul + 0x1000 * (n))
#define EVENTS_MAX 16

static struct rig rig;

/* What the handlers tell main(). */
static volatile unsigned event_count;
static struct smmu_event events[EVENTS_MAX];
static volatile unsigned eventq_irqs;
static volatile unsigned gerror_irqs;
static volatile uint32_t gerrors_seen;
static volatile uint32_t command_error_seen;
static volatile unsigned sync_irqs;

/*
 * Takes every record there is. An SMMU that interrupts once a record, not only when the queue
 * stops being empty, gives interrupts that find nothing; they are no harm.
 */
static void on_eventq(void)
{
    eventq_irqs++;
    while (event_count < EVENTS_MAX && smmu_event_pop(&rig.smmu, &events[event_count]))
        event_count++;
}

static void on_gerror(void)
{
    gerror_irqs++;
    gerrors_seen = smmu_gerror_active(&rig.smmu);
    if (!(gerrors_seen & GERROR_CMDQ_ERR))
        return;
    command_error_seen = smmu_command_error(&rig.smmu);

    struct smmu_queue *queue = &rig.smmu.cmdq;
    uint32_t cons = smmu_read(&rig.smmu, SMMU_CMDQ_CONS);
    struct smmu_command sync = smmu_cmd_sync(CMD_SYNC_CS_NONE);
    volatile uint64_t *slot = &queue->ring[(cons & (BIT(queue->lg2) - 1)) * queue->entry_words];
    slot[0] = sync.dw[0];
    slot[1] = sync.dw[1];
    dma_write_barrier();
    smmu_gerror_acknowledge(&rig.smmu, gerrors_seen);
}

static void on_sync(void)
{
    sync_irqs++;
}

/* Sleeps until a counter that a handler moves reaches a value; interrupts are masked outside. */
static void sleep_until(const volatile unsigned *counter, unsigned value)
{
    while (*counter < value) {
        wfi();
        irq_enable();
        isb();
        irq_disable();
    }
}

static void check_event(unsigned i, uint64_t iova)
{
    check(smmu_event_type(&events[i]) == EVENT_F_TRANSLATION && events[i].dw[2] == iova,
          "the handler has the record of 0x%lx", iova);
    printf("      ");
    smmu_event_print(&events[i]);
}

static void test_one_by_one(void)
{
    test_section("3 faults, a sleep after each");
    for (unsigned i = 0; i < 3; i++) {
        event_count = 0;
        testdev_dma(&rig.dev, FAULT_IOVA(i), DMA_BASE, 4);
        sleep_until(&event_count, 1);
        check_event(0, FAULT_IOVA(i));
        check(event_count == 1, "and no other");
    }
}

/* Interrupts stay masked while the queue fills; the pending one is for all of them. */
static void test_together(void)
{
    test_section("5 faults while interrupts are masked, then one sleep");
    event_count = 0;
    eventq_irqs = 0;
    for (unsigned i = 0; i < 5; i++)
        testdev_dma(&rig.dev, FAULT_IOVA(i), DMA_BASE, 4);
    check(event_count == 0, "no handler has run");
    sleep_until(&event_count, 5);
    for (unsigned i = 0; i < 5; i++)
        check_event(i, FAULT_IOVA(i));
    check(eventq_irqs == 1, "one interrupt told of all");
}

static void test_disabled(void)
{
    test_section("A fault with IRQ_CTRL.EVENTQ_IRQEN = 0");
    smmu_interrupts_set(&rig.smmu, IRQ_CTRL_GERROR);
    event_count = 0;
    testdev_dma(&rig.dev, FAULT_IOVA(9), DMA_BASE, 4);
    irq_enable();
    isb();
    irq_disable();
    check(event_count == 0, "no interrupt comes");
    on_eventq();
    check(event_count == 1, "the record is there all the same");
    check_event(0, FAULT_IOVA(9));
    smmu_interrupts_set(&rig.smmu, IRQ_CTRL_GERROR | IRQ_CTRL_EVENTQ);
}

static void test_gerror(void)
{
    struct smmu_command bad = smmu_cmd_tlbi(0xff);

    test_section("An illegal command");
    smmu_issue(&rig.smmu, &bad);
    sleep_until(&gerror_irqs, 1);
    check(gerrors_seen == GERROR_CMDQ_ERR, "the handler has seen GERROR.CMDQ_ERR");
    check(command_error_seen == CERROR_ILL, "and CERROR_ILL");
    check(smmu_sync(&rig.smmu), "it has repaired the queue");
}

static void test_sync(void)
{
    struct smmu_command sync = smmu_cmd_sync(CMD_SYNC_CS_IRQ);

    test_section("A CMD_SYNC with CS = SIG_IRQ");
    smmu_issue(&rig.smmu, &sync);
    sleep_until(&sync_irqs, 1);
    check(sync_irqs == 1, "its interrupt has come");
}

int main(void)
{
    struct pagetable table;

    test_begin("irq_faults: faults, errors and CMD_SYNC by interrupt");
    if (!rig_start(&rig, &RIG_CONFIG_DEFAULT))
        return test_end();
    pagetable_init(&table, 12, 39, false);
    rig_attach(&rig, 1, &table, NULL);

    gic_init();
    gic_enable(IRQ_SMMU_EVENTQ, GIC_EDGE, on_eventq);
    gic_enable(IRQ_SMMU_GERROR, GIC_EDGE, on_gerror);
    gic_enable(IRQ_SMMU_CMD_SYNC, GIC_EDGE, on_sync);
    smmu_interrupts_set(&rig.smmu, IRQ_CTRL_GERROR | IRQ_CTRL_EVENTQ);
    printf("interrupts: event queue %u, CMD_SYNC %u, global error %u\n", IRQ_SMMU_EVENTQ,
           IRQ_SMMU_CMD_SYNC, IRQ_SMMU_GERROR);

    test_one_by_one();
    test_together();
    test_disabled();
    test_gerror();
    test_sync();
    return test_end();
}
