/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Queues and tables of the SMMU where there is no memory: the SMMU says so in GERROR (Arm IHI
 * 0070, 7.5), and goes on once they are where they should be.
 */
#include "board.h"
#include "console.h"
#include "rig.h"

static struct rig rig;

static uint64_t base_of(const struct smmu_queue *queue, uint64_t address)
{
    return address | field_put(QUEUE_BASE_LOG2SIZE, queue->lg2);
}

static void move_event_queue(uint64_t address)
{
    struct smmu_queue *queue = &rig.smmu.evtq;

    smmu_cr0_clear(&rig.smmu, CR0_EVENTQEN);
    queue->prod = queue->cons = 0;
    smmu_write64(&rig.smmu, SMMU_EVENTQ_BASE, base_of(queue, address));
    smmu_write(&rig.smmu, SMMU_EVENTQ_PROD, 0);
    smmu_write(&rig.smmu, SMMU_EVENTQ_CONS, 0);
    smmu_cr0_set(&rig.smmu, CR0_EVENTQEN);
}

static void move_command_queue(uint64_t address)
{
    struct smmu_queue *queue = &rig.smmu.cmdq;

    smmu_cr0_clear(&rig.smmu, CR0_CMDQEN);
    queue->prod = queue->cons = 0;
    smmu_write64(&rig.smmu, SMMU_CMDQ_BASE, base_of(queue, address));
    smmu_write(&rig.smmu, SMMU_CMDQ_PROD, 0);
    smmu_write(&rig.smmu, SMMU_CMDQ_CONS, 0);
    smmu_gerror_acknowledge(&rig.smmu, smmu_gerror_active(&rig.smmu) & GERROR_CMDQ_ERR);
    smmu_cr0_set(&rig.smmu, CR0_CMDQEN);
}

static void test_event_queue(uint64_t address)
{
    uint64_t home = (uintptr_t)rig.smmu.evtq.ring;

    test_section("The Event queue at 0x%lx", address);
    move_event_queue(address);
    uint32_t result = testdev_dma(&rig.dev, 0x1000, DMA_BASE, 4);
    check(result == TESTDEV_WRITE_FAILED, "a DMA that faults is refused");
    check(smmu_gerror_active(&rig.smmu) == GERROR_EVENTQ_ABT_ERR,
          "GERROR.EVENTQ_ABT_ERR is active, nothing else");
    smmu_gerror_acknowledge(&rig.smmu, GERROR_EVENTQ_ABT_ERR);
    move_event_queue(home);
    check_dma_faults(&rig, 0x1000, EVENT_F_TRANSLATION, "back in RAM");
}

static void test_command_queue(uint64_t address)
{
    uint64_t home = (uintptr_t)rig.smmu.cmdq.ring;

    test_section("The Command queue at 0x%lx", address);
    move_command_queue(address);
    smmu_write(&rig.smmu, SMMU_CMDQ_PROD, 1);
    for (unsigned i = 0; i < 1000000 && !smmu_gerror_active(&rig.smmu); i++) {
    }
    check(smmu_gerror_active(&rig.smmu) == GERROR_CMDQ_ERR,
          "GERROR.CMDQ_ERR is active, nothing else");
    check(smmu_command_error(&rig.smmu) == CERROR_ABT, "CMDQ_CONS.ERR is CERROR_ABT");
    move_command_queue(home);
    check(smmu_sync(&rig.smmu), "back in RAM: commands are consumed");
}

/* Nothing has a place: the stream table fault cannot be recorded either. */
static void test_all(void)
{
    uint64_t home = (uintptr_t)rig.smmu.evtq.ring;

    test_section("Event queue and Stream table, both");
    move_event_queue(NOWHERE_BASE);
    smmu_cr0_clear(&rig.smmu, CR0_SMMUEN);
    smmu_strtab_install(&rig.smmu, NOWHERE_BASE + 0x100000);
    smmu_issue_sync(&rig.smmu, smmu_cmd_cfgi_all());
    smmu_cr0_set(&rig.smmu, CR0_SMMUEN);
    uint32_t result = testdev_dma(&rig.dev, 0x1000, DMA_BASE, 4);
    check(result == TESTDEV_WRITE_FAILED, "a DMA is refused");
    check(smmu_gerror_active(&rig.smmu) == GERROR_EVENTQ_ABT_ERR,
          "GERROR.EVENTQ_ABT_ERR is active, nothing else");
    smmu_gerror_acknowledge(&rig.smmu, GERROR_EVENTQ_ABT_ERR);
    move_event_queue(home);
    check_dma_faults(&rig, 0x1000, EVENT_F_STE_FETCH, "the Event queue back in RAM");
}

int main(void)
{
    struct pagetable table;

    test_begin("queue_outside: queues and tables where there is no memory");
    if (!rig_start(&rig, &RIG_CONFIG_DEFAULT))
        return test_end();
    pagetable_init(&table, 12, 39, false);
    rig_attach(&rig, 1, &table, NULL);
    test_event_queue(NOWHERE_BASE);
    test_event_queue(RAM_BASE + RAM_SIZE);
    test_command_queue(NOWHERE_BASE);
    test_command_queue(RAM_BASE + RAM_SIZE);
    test_all();
    return test_end();
}
