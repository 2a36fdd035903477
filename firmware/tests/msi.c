/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interrupts as messages (Arm IHI 0070, 3.18 and 4.7.3): 32-bit writes, first to memory, where the
 * core looks for them, as drivers do that wait for CMD_SYNC; then to a GICv2m frame, which makes
 * interrupts of them.
 */
#include "board.h"
#include "console.h"
#include "gic.h"
#include "mmio.h"
#include "rig.h"
#include "sysreg.h"

#define POLLS 100000 /* a message comes when it comes */
#define EVENTQ_DATA 0xe7e27001u
#define GERROR_DATA 0x6e220402u
#define SYNC_DATA 0x5c5c0003u
#define FAULT_IOVA(n) (0x30000000ul + 0x1000 * (n))

static struct rig rig;

/* Where messages go: one word each. */
static volatile uint32_t *const eventq_box = (volatile uint32_t *)(DMA_BASE + 0x100);
static volatile uint32_t *const gerror_box = (volatile uint32_t *)(DMA_BASE + 0x104);
static volatile uint32_t *const sync_box = (volatile uint32_t *)(DMA_BASE + 0x108);

static void clear_boxes(void)
{
    *eventq_box = *gerror_box = *sync_box = 0;
    dsb();
}

/* The message registers may be written only while the interrupt is off. */
static void set_messages_with(uint64_t eventq, uint32_t eventq_data, uint64_t gerror,
                              uint32_t gerror_data)
{
    smmu_interrupts_set(&rig.smmu, 0);
    smmu_write64(&rig.smmu, SMMU_EVENTQ_IRQ_CFG0, eventq);
    smmu_write(&rig.smmu, SMMU_EVENTQ_IRQ_CFG1, eventq_data);
    smmu_write(&rig.smmu, SMMU_EVENTQ_IRQ_CFG2, 0);
    smmu_write64(&rig.smmu, SMMU_GERROR_IRQ_CFG0, gerror);
    smmu_write(&rig.smmu, SMMU_GERROR_IRQ_CFG1, gerror_data);
    smmu_write(&rig.smmu, SMMU_GERROR_IRQ_CFG2, 0);
    smmu_interrupts_set(&rig.smmu, IRQ_CTRL_GERROR | IRQ_CTRL_EVENTQ);
}

static void set_messages(uint64_t eventq, uint64_t gerror)
{
    set_messages_with(eventq, EVENTQ_DATA, gerror, GERROR_DATA);
}

static void fault(unsigned n)
{
    testdev_dma(&rig.dev, FAULT_IOVA(n), DMA_BASE, 4);
}

static unsigned drain(void)
{
    struct smmu_event event;
    unsigned count = 0;

    while (smmu_event_pop(&rig.smmu, &event))
        count++;
    return count;
}

static void check_box(volatile uint32_t *box, uint32_t expected, const char *what)
{
    dsb();
    for (unsigned i = 0; i < POLLS && expected && *box != expected; i++) {
    }
    uint32_t found = *box;

    check(found == expected, "%s: 0x%08x", what, found);
    *box = 0;
    dsb();
}

static void test_eventq(void)
{
    test_section("The Event queue's message");
    clear_boxes();
    fault(0);
    check_box(eventq_box, EVENTQ_DATA, "a fault, the queue was empty");
    fault(1);
    check_box(eventq_box, 0, "another one, the queue was not empty");
    check(drain() == 2, "two records are there");
    fault(2);
    check_box(eventq_box, EVENTQ_DATA, "the queue was emptied, and a fault");
    drain();
    smmu_interrupts_set(&rig.smmu, IRQ_CTRL_GERROR);
    fault(3);
    check_box(eventq_box, 0, "IRQ_CTRL.EVENTQ_IRQEN = 0");
    check(drain() == 1, "the record is there all the same");
    smmu_interrupts_set(&rig.smmu, IRQ_CTRL_GERROR | IRQ_CTRL_EVENTQ);
}

/* Puts a CMD_SYNC over the command that stopped the queue, and goes on. */
static void repair_command_queue(void)
{
    struct smmu_queue *queue = &rig.smmu.cmdq;
    uint32_t cons = smmu_read(&rig.smmu, SMMU_CMDQ_CONS);
    struct smmu_command sync = smmu_cmd_sync(CMD_SYNC_CS_NONE);
    volatile uint64_t *slot = &queue->ring[(cons & (BIT(queue->lg2) - 1)) * queue->entry_words];

    slot[0] = sync.dw[0];
    slot[1] = sync.dw[1];
    dma_write_barrier();
    smmu_gerror_acknowledge(&rig.smmu, GERROR_CMDQ_ERR);
}

static void test_gerror(void)
{
    struct smmu_command bad = smmu_cmd_tlbi(0xff);

    test_section("The message of global errors");
    smmu_issue(&rig.smmu, &bad);
    check_box(gerror_box, GERROR_DATA, "an illegal command");
    check(smmu_gerror_active(&rig.smmu) == GERROR_CMDQ_ERR, "CMDQ_ERR is active");
    repair_command_queue();
    check(smmu_sync(&rig.smmu) && !smmu_gerror_active(&rig.smmu), "repaired");
    check_box(gerror_box, 0, "an acknowledge sends nothing");
}

static void test_sync(void)
{
    struct smmu_command sync = smmu_cmd_sync_msi((uintptr_t)sync_box, SYNC_DATA);
    bool good = true;

    test_section("CMD_SYNC's message");
    smmu_issue(&rig.smmu, &sync);
    check_box(sync_box, SYNC_DATA, "to a word of its own");
    check(smmu_sync_by_message(&rig.smmu), "to the slot of the CMD_SYNC itself");
    for (unsigned i = 0; i < 100 && good; i++)
        good = smmu_sync_by_message(&rig.smmu);
    check(good, "100 times, all around the queue");
    sync = smmu_cmd_sync_msi(0, SYNC_DATA);
    smmu_issue(&rig.smmu, &sync);
    check_box(sync_box, 0, "to address 0: none is sent");
}

/* Messages that nobody takes are global errors of their own. */
static void test_aborted(void)
{
    struct smmu_command sync = smmu_cmd_sync_msi(NOWHERE_BASE, SYNC_DATA);
    struct smmu_command bad = smmu_cmd_tlbi(0xff);

    test_section("Messages to where nothing is");
    set_messages(NOWHERE_BASE, (uintptr_t)gerror_box);
    fault(4);
    check(smmu_gerror_active(&rig.smmu) == GERROR_MSI_EVENTQ_ABT_ERR, "MSI_EVENTQ_ABT_ERR");
    check_box(gerror_box, GERROR_DATA, "and the error's message");
    smmu_gerror_acknowledge(&rig.smmu, GERROR_MSI_EVENTQ_ABT_ERR);
    check(drain() == 1, "the record is there all the same");

    smmu_issue(&rig.smmu, &sync);
    check(smmu_sync(&rig.smmu), "a CMD_SYNC whose message aborts is consumed");
    check(smmu_gerror_active(&rig.smmu) == GERROR_MSI_CMDQ_ABT_ERR, "MSI_CMDQ_ABT_ERR");
    check_box(gerror_box, GERROR_DATA, "and the error's message");
    smmu_gerror_acknowledge(&rig.smmu, GERROR_MSI_CMDQ_ABT_ERR);

    set_messages((uintptr_t)eventq_box, NOWHERE_BASE);
    smmu_issue(&rig.smmu, &bad);
    for (unsigned i = 0; i < POLLS && !smmu_gerror_active(&rig.smmu); i++) {
    }
    check(smmu_gerror_active(&rig.smmu) == (GERROR_CMDQ_ERR | GERROR_MSI_GERROR_ABT_ERR),
          "MSI_GERROR_ABT_ERR beside the error that it should have told of");
    smmu_gerror_acknowledge(&rig.smmu, GERROR_MSI_GERROR_ABT_ERR);
    repair_command_queue();
    check(smmu_sync(&rig.smmu) && !smmu_gerror_active(&rig.smmu), "repaired");
}

/* Their registers are the driver's while the interrupt is off, and nobody's while it is on. */
static void test_guard(void)
{
    test_section("The registers of a message while its interrupt is on");
    set_messages((uintptr_t)eventq_box, (uintptr_t)gerror_box);
    smmu_write64(&rig.smmu, SMMU_EVENTQ_IRQ_CFG0, NOWHERE_BASE);
    smmu_write(&rig.smmu, SMMU_EVENTQ_IRQ_CFG1, 0xbad);
    clear_boxes();
    fault(5);
    check_box(eventq_box, EVENTQ_DATA, "writes to them change nothing");
    drain();
}

/* -- interrupts, by way of a GICv2m */

static volatile unsigned eventq_irqs;
static volatile unsigned gerror_irqs;
static volatile unsigned sync_irqs;
static volatile unsigned records;

static void on_eventq(void)
{
    eventq_irqs++;
    records += drain();
}

static void on_gerror(void)
{
    gerror_irqs++;
    repair_command_queue();
}

static void on_sync(void)
{
    sync_irqs++;
}

static void sleep_until(const volatile unsigned *counter, unsigned value)
{
    while (*counter < value) {
        wfi();
        irq_enable();
        isb();
        irq_disable();
    }
}

static void test_interrupts(void)
{
    uint32_t typer = read32(GICV2M_BASE + GICV2M_TYPER);
    unsigned first = (unsigned)field_get(BITS(25, 16), typer);
    uint64_t doorbell = GICV2M_BASE + GICV2M_SETSPI_NS;
    struct smmu_command bad = smmu_cmd_tlbi(0xff);
    struct smmu_command sync = smmu_cmd_sync_msi(doorbell, first + 2);

    test_section("Messages to a GICv2m: %lu interrupts from %u on", field_get(BITS(9, 0), typer),
                 first);
    gic_init();
    gic_enable(first, GIC_EDGE, on_eventq);
    gic_enable(first + 1, GIC_EDGE, on_gerror);
    gic_enable(first + 2, GIC_EDGE, on_sync);
    gic_enable(IRQ_SMMU_EVENTQ, GIC_EDGE, on_sync); /* the wires stay silent */
    gic_enable(IRQ_SMMU_GERROR, GIC_EDGE, on_sync);
    set_messages_with(doorbell, first, doorbell, first + 1);
    fault(6);
    fault(7);
    sleep_until(&eventq_irqs, 1);
    check(eventq_irqs == 1 && records == 2, "one interrupt told of two records");
    smmu_issue(&rig.smmu, &bad);
    sleep_until(&gerror_irqs, 1);
    check(smmu_sync(&rig.smmu) && !smmu_gerror_active(&rig.smmu), "the handler has repaired the queue");
    check(sync_irqs == 0, "no other interrupt has come");
    smmu_issue(&rig.smmu, &sync);
    sleep_until(&sync_irqs, 1);
    check(sync_irqs == 1, "CMD_SYNC's interrupt has come");
}

int main(void)
{
    struct pagetable table;

    test_begin("msi: interrupts as messages");
    if (!rig_start(&rig, &RIG_CONFIG_DEFAULT))
        return test_end();
    if (!(rig.smmu.idr0 & IDR0_MSI))
        return test_absent("an SMMU that sends messages (SMMU_IDR0.MSI)");
    pagetable_init(&table, 12, 39, false);
    rig_attach(&rig, 1, &table, NULL);
    set_messages((uintptr_t)eventq_box, (uintptr_t)gerror_box);

    test_eventq();
    test_gerror();
    test_sync();
    test_aborted();
    test_guard();
    test_interrupts();
    return test_end();
}
