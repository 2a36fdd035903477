/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A GICv3 with an ITS (Arm IHI 0069 4, 5): interrupts through system registers, commands of the
 * ITS, and messages that become LPIs by who sent them: a PCI function, directly and through the
 * SMMU, and the SMMU itself.
 */
#include "board.h"
#include "console.h"
#include "gicv3.h"
#include "mmio.h"
#include "pci.h"
#include "rig.h"
#include "sysreg.h"

#define SMMU_DEVICE 0x10000 /* DeviceID of the SMMU's own messages: msi-parent in the tree */
#define EVENT_BITS 4
#define TRANSLATED 0x30000000ul /* where the doorbell is for the PCI function */

#define EDU_VENDOR 0x1234
#define EDU_DEVICE 0x11e8
#define EDU_RAISE 0x60
#define EDU_ACKNOWLEDGE 0x64
#define PCI_STATUS_CAPABILITIES 0x34
#define PCI_MSI 0x05
#define PCI_MSI_ENABLE BIT(16)

enum { LPI_COMMAND = FIRST_LPI, LPI_EDU, LPI_EVENTQ, LPI_GERROR, LPI_SYNC };
enum { EVENT_EVENTQ = 1, EVENT_GERROR, EVENT_SYNC };

static struct rig rig;
static struct pci_device edu;
static unsigned edu_msi; /* offset of the capability */
static volatile unsigned counts[LPI_COUNT], sgis, ticks;

bool gic_dispatch(void)
{
    return gicv3_dispatch();
}

#define COUNTER(name, lpi)                  \
    static void name(void)                  \
    {                                       \
        counts[(lpi) - FIRST_LPI]++;        \
    }
COUNTER(on_command, LPI_COMMAND)
COUNTER(on_edu, LPI_EDU)
COUNTER(on_eventq, LPI_EVENTQ)
COUNTER(on_gerror, LPI_GERROR)
COUNTER(on_sync, LPI_SYNC)

static void on_sgi(void)
{
    sgis++;
}

static void on_timer(void)
{
    ticks++;
    sysreg_write(cntp_ctl_el0, 0);
    isb();
}

/* Takes what is pending; how often has this LPI been taken since the last time? */
static unsigned taken(unsigned lpi)
{
    irq_enable();
    isb();
    irq_disable();
    unsigned count = counts[lpi - FIRST_LPI];

    counts[lpi - FIRST_LPI] = 0;
    return count;
}

static void test_system_registers(void)
{
    test_section("Through system registers");
    gicv3_enable(5, GIC_EDGE, on_sgi);
    gicv3_send_sgi(5);
    taken(LPI_COMMAND);
    check(sgis == 1, "an SGI to this core");
    gicv3_enable(IRQ_TIMER, GIC_LEVEL, on_timer);
    sysreg_write(cntp_cval_el0, sysreg_read(cntpct_el0) + 5000);
    sysreg_write(cntp_ctl_el0, 1);
    isb();
    while (!ticks) {
        wfi();
        taken(LPI_COMMAND);
    }
    check(ticks == 1, "the timer ends WFI");
}

static void test_commands(void)
{
    const uint32_t device = 0x33, event = 7;

    test_section("Commands");
    its_map_device(device, EVENT_BITS);
    lpi_configure(LPI_COMMAND, true, on_command);
    its_map_event(device, event, LPI_COMMAND);
    its_interrupt(device, event);
    check(taken(LPI_COMMAND) == 1, "INT makes an LPI");
    check(taken(LPI_COMMAND) == 0, "once");
    its_interrupt(device, event);
    its_interrupt(device, event);
    check(taken(LPI_COMMAND) == 1, "two, before the first was taken, are one");
    its_interrupt(device, event);
    its_clear(device, event);
    check(taken(LPI_COMMAND) == 0, "CLEAR takes it back");
    lpi_configure(LPI_COMMAND, false, on_command);
    its_invalidate(device, event);
    its_interrupt(device, event);
    check(taken(LPI_COMMAND) == 0, "it waits while its configuration says off");
    lpi_configure(LPI_COMMAND, true, on_command);
    its_invalidate_all();
    check(taken(LPI_COMMAND) == 1, "and comes when it says on");
    its_discard(device, event);
    its_interrupt(device, event);
    check(taken(LPI_COMMAND) == 0, "DISCARD: the event is nobody's");
    its_map_event(device, event, LPI_COMMAND);
    its_move(device, event, 0);
    its_interrupt(device, event);
    check(taken(LPI_COMMAND) == 1, "MAPTI and MOVI: it is again");
    its_unmap_device(device);
    its_interrupt(device, event);
    check(taken(LPI_COMMAND) == 0, "MAPD: the device is no more");
}

static bool find_edu(void)
{
    if (!pci_find(&edu, EDU_VENDOR, EDU_DEVICE) || !pci_enable(&edu))
        return false;
    edu_msi = pci_read32(&edu, PCI_STATUS_CAPABILITIES) & 0xff;
    while (edu_msi && (pci_read32(&edu, edu_msi) & 0xff) != PCI_MSI)
        edu_msi = pci_read32(&edu, edu_msi) >> 8 & 0xff;
    return edu_msi != 0;
}

/* Lets the function send its message. */
static void edu_sends(uint64_t address, uint32_t event)
{
    pci_write32(&edu, edu_msi + 4, (uint32_t)address);
    pci_write32(&edu, edu_msi + 8, (uint32_t)(address >> 32));
    pci_write32(&edu, edu_msi + 12, event);
    pci_write32(&edu, edu_msi, pci_read32(&edu, edu_msi) | PCI_MSI_ENABLE);
    write32(edu.bar0 + EDU_RAISE, 1);
    write32(edu.bar0 + EDU_ACKNOWLEDGE, 1);
}

static void test_messages(void)
{
    test_section("Messages of a PCI function");
    its_map_device(edu.rid, EVENT_BITS);
    lpi_configure(LPI_EDU, true, on_edu);
    its_map_event(edu.rid, 3, LPI_EDU);
    edu_sends(GITS_TRANSLATER, 3);
    check(taken(LPI_EDU) == 1, "its requester ID and EventID 3 are an LPI");
    edu_sends(GITS_TRANSLATER, 4);
    check(taken(LPI_EDU) == 0, "EventID 4 is none");
    its_unmap_device(edu.rid);
    its_map_device(edu.rid + 1, EVENT_BITS);
    its_map_event(edu.rid + 1, 3, LPI_EDU);
    edu_sends(GITS_TRANSLATER, 3);
    check(taken(LPI_EDU) == 0, "nor is EventID 3 of its neighbour");
    its_interrupt(edu.rid + 1, 3);
    check(taken(LPI_EDU) == 1, "which is there");
    its_unmap_device(edu.rid + 1);
    its_map_device(edu.rid, EVENT_BITS);
    its_map_event(edu.rid, 3, LPI_EDU);
}

static void test_translated(void)
{
    struct pagetable table;

    test_section("Messages through the SMMU");
    edu_sends(GITS_TRANSLATER, 3);
    check(taken(LPI_EDU) == 0, "a stream that aborts sends none");
    pagetable_init(&table, 12, 39, false);
    pagetable_map(&table, TRANSLATED, GITS_TRANSLATER & ~0xffful, 3,
                  PTE_READ_WRITE | field_put(PTE_ATTR_INDEX, 1));
    rig.sid = edu.rid;
    rig_attach(&rig, 1, &table, 0);
    edu_sends(TRANSLATED + (GITS_TRANSLATER & 0xfff), 3);
    check(taken(LPI_EDU) == 1, "translated, it is the same LPI");
    while (smmu_event_pop(&rig.smmu, &(struct smmu_event){0}))
        ;
    edu_sends(GITS_TRANSLATER, 3);
    check(taken(LPI_EDU) == 0, "the doorbell's own address is not mapped");
}

static void messages_of_smmu_init(void)
{
    static const struct {
        uint32_t event;
        unsigned lpi;
        irq_handler handler;
    } events[] = {
        {EVENT_EVENTQ, LPI_EVENTQ, on_eventq},
        {EVENT_GERROR, LPI_GERROR, on_gerror},
        {EVENT_SYNC, LPI_SYNC, on_sync},
    };

    its_map_device(SMMU_DEVICE, EVENT_BITS);
    for (unsigned n = 0; n < ARRAY_COUNT(events); n++) {
        lpi_configure(events[n].lpi, true, events[n].handler);
        its_map_event(SMMU_DEVICE, events[n].event, events[n].lpi);
    }
    smmu_interrupts_set(&rig.smmu, 0);
    smmu_write64(&rig.smmu, SMMU_EVENTQ_IRQ_CFG0, GITS_TRANSLATER);
    smmu_write(&rig.smmu, SMMU_EVENTQ_IRQ_CFG1, EVENT_EVENTQ);
    smmu_write64(&rig.smmu, SMMU_GERROR_IRQ_CFG0, GITS_TRANSLATER);
    smmu_write(&rig.smmu, SMMU_GERROR_IRQ_CFG1, EVENT_GERROR);
    smmu_interrupts_set(&rig.smmu, IRQ_CTRL_GERROR | IRQ_CTRL_EVENTQ);
}

static void test_messages_of_smmu(void)
{
    struct smmu_command sync = smmu_cmd_sync_msi(GITS_TRANSLATER, EVENT_SYNC);
    struct smmu_command bad = smmu_cmd_tlbi(0xff);
    struct smmu_event event = {0};

    test_section("Messages of the SMMU");
    if (!(rig.smmu.idr0 & IDR0_MSI)) {
        printf("  this one has none\n");
        return;
    }
    while (smmu_event_pop(&rig.smmu, &event))
        ;
    messages_of_smmu_init();
    edu_sends(GITS_TRANSLATER, 3);
    check(taken(LPI_EVENTQ) == 1, "a fault: the Event queue's, with the SMMU's own DeviceID");
    check(taken(LPI_EDU) == 0 && smmu_event_pop(&rig.smmu, &event), "the record is there");
    smmu_issue(&rig.smmu, &sync);
    check(taken(LPI_SYNC) == 1, "CMD_SYNC's");
    smmu_issue(&rig.smmu, &bad);
    check(taken(LPI_GERROR) == 1, "a wrong command: that of global errors");
}

int main(void)
{
    test_begin("its: messages that become LPIs");
    if (!gicv3_here())
        return test_absent("a GICv3");
    if (!check(gicv3_init(), "there are LPIs") || !check(find_edu(), "an edu with MSI is there"))
        return test_end();
    test_system_registers();
    test_commands();
    test_messages();
    if (rig_start(&rig, &RIG_CONFIG_DEFAULT)) {
        test_translated();
        test_messages_of_smmu();
    }
    return test_end();
}
