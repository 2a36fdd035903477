/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A Command queue of 4 entries: wrap bits, a full queue, and errors (Arm IHI 0070, 3.5 and 7.1).
 */
#include "board.h"
#include "console.h"
#include "mmio.h"
#include "rig.h"

#define CMDQ_LG2 2
#define CMDQ_ENTRIES 4
#define POSITION_MASK 7 /* the index and the wrap bit */

#define RESERVED_OPCODE 0xff

static struct rig rig;

static uint32_t prod(void)
{
    return smmu_read(&rig.smmu, SMMU_CMDQ_PROD) & POSITION_MASK;
}

static uint32_t cons(void)
{
    return smmu_read(&rig.smmu, SMMU_CMDQ_CONS) & POSITION_MASK;
}

static void print_position(const char *when)
{
    printf("  %s: PROD index %u wrap %u, CONS index %u wrap %u\n", when, prod() % CMDQ_ENTRIES,
           prod() / CMDQ_ENTRIES, cons() % CMDQ_ENTRIES, cons() / CMDQ_ENTRIES);
}

static void put(struct smmu_command command)
{
    smmu_command_put(&rig.smmu, &command);
}

static void test_many(void)
{
    bool good = true;
    bool wraps_seen[2] = {false, false};

    test_section("100 commands, one by one");
    for (unsigned i = 0; i < 100 && good; i++) {
        good = smmu_issue_sync(&rig.smmu, smmu_cmd_tlbi_va(1, 0x1000ul * i, true));
        wraps_seen[prod() / CMDQ_ENTRIES] = true;
    }
    check(good, "each is consumed");
    check(wraps_seen[0] && wraps_seen[1], "the wrap bit was seen as 0 and as 1");
    check(prod() == cons(), "the queue is empty");
}

/* With CMDQEN = 0 nothing is consumed, so that the queue can be seen full. */
static void test_full(unsigned start)
{
    test_section("A full queue that starts at index %u", start);
    while (rig.smmu.cmdq.prod % CMDQ_ENTRIES != start)
        smmu_sync(&rig.smmu);
    smmu_cr0_clear(&rig.smmu, CR0_CMDQEN);
    for (unsigned i = 0; i < CMDQ_ENTRIES - 1; i++)
        put(smmu_cmd_tlbi_va(1, 0x1000ul * i, true));
    put(smmu_cmd_sync(CMD_SYNC_CS_SEV));
    smmu_command_ring(&rig.smmu);
    print_position("CMDQEN = 0");
    check(smmu_command_queue_full(&rig.smmu), "indexes are equal and wrap bits differ: full");
    smmu_cr0_set(&rig.smmu, CR0_CMDQEN);
    for (unsigned i = 0; i < 1000000 && prod() != cons(); i++) {
    }
    print_position("CMDQEN = 1");
    check(prod() == cons(), "all four are consumed");
}

/*
 * The command after the bad one shows by its effect whether it ran: it makes the SMMU forget a
 * page that is no longer mapped.
 */
static void test_illegal(void)
{
    const uint64_t iova = 0x20300000;
    struct pagetable table;
    struct smmu *smmu = &rig.smmu;

    test_section("An illegal command, and one behind it");
    pagetable_init(&table, 12, 39, false);
    pagetable_map(&table, iova, DMA_BASE, 3, PTE_READ_WRITE);
    rig_attach(&rig, 1, &table, NULL);
    check_dma_lands(&rig, iova, DMA_BASE, "mapped");
    *pagetable_descriptor(&table, iova, 3) = 0;

    uint32_t bad = prod();
    put(smmu_cmd_tlbi(RESERVED_OPCODE));
    put(smmu_cmd_tlbi(CMD_TLBI_NSNH_ALL));
    smmu_command_ring(smmu);
    for (unsigned i = 0; i < 1000000 && !(smmu_gerror_active(smmu) & GERROR_CMDQ_ERR); i++) {
    }
    check(smmu_gerror_active(smmu) == GERROR_CMDQ_ERR, "GERROR.CMDQ_ERR is active, nothing else");
    check(smmu_command_error(smmu) == CERROR_ILL, "CMDQ_CONS.ERR is CERROR_ILL");
    check(cons() == bad, "CMDQ_CONS is at the bad command");
    check_dma_lands(&rig, iova, DMA_BASE, "the command behind it has not run");

    /* What a driver does: put a CMD_SYNC in its place, then acknowledge. */
    struct smmu_command sync = smmu_cmd_sync(CMD_SYNC_CS_NONE);
    smmu->cmdq.ring[(bad % CMDQ_ENTRIES) * 2] = sync.dw[0];
    smmu->cmdq.ring[(bad % CMDQ_ENTRIES) * 2 + 1] = sync.dw[1];
    dma_write_barrier();
    smmu_gerror_acknowledge(smmu, GERROR_CMDQ_ERR);
    check(smmu_sync(smmu), "a CMD_SYNC in its place and the acknowledge: the queue goes on");
    check(smmu_gerror_active(smmu) == 0, "no error is active");
    check_dma_faults(&rig, iova, EVENT_F_TRANSLATION, "the command behind it has run");
}

/* The queue may only be moved while CMDQEN = 0. */
static void test_nowhere(void)
{
    struct smmu *smmu = &rig.smmu;
    uint64_t ring = (uintptr_t)smmu->cmdq.ring;
    uint64_t size = field_put(QUEUE_BASE_LOG2SIZE, CMDQ_LG2);

    test_section("A Command queue that is nowhere");
    smmu_cr0_clear(smmu, CR0_CMDQEN);
    smmu_write64(smmu, SMMU_CMDQ_BASE, NOWHERE_BASE | size);
    smmu_cr0_set(smmu, CR0_CMDQEN);
    put(smmu_cmd_sync(CMD_SYNC_CS_NONE));
    smmu_command_ring(smmu);
    for (unsigned i = 0; i < 1000000 && !(smmu_gerror_active(smmu) & GERROR_CMDQ_ERR); i++) {
    }
    check(smmu_gerror_active(smmu) == GERROR_CMDQ_ERR, "GERROR.CMDQ_ERR is active, nothing else");
    check(smmu_command_error(smmu) == CERROR_ABT, "CMDQ_CONS.ERR is CERROR_ABT");

    smmu_cr0_clear(smmu, CR0_CMDQEN);
    smmu_write64(smmu, SMMU_CMDQ_BASE, ring | size);
    smmu->cmdq.prod = smmu->cmdq.cons = 0;
    smmu_write(smmu, SMMU_CMDQ_PROD, 0);
    smmu_write(smmu, SMMU_CMDQ_CONS, 0);
    smmu_gerror_acknowledge(smmu, GERROR_CMDQ_ERR);
    smmu_cr0_set(smmu, CR0_CMDQEN);
    check(smmu_sync(smmu), "moved back and acknowledged: the queue goes on");
    check(smmu_gerror_active(smmu) == 0, "no error is active");
}

int main(void)
{
    struct smmu_config config = RIG_CONFIG_DEFAULT;

    test_begin("cmdq_wrap: a small Command queue, full, wrapped and in error");
    config.cmdq_lg2 = CMDQ_LG2;
    if (!rig_start(&rig, &config))
        return test_end();
    test_many();
    for (unsigned start = 0; start < CMDQ_ENTRIES; start++)
        test_full(start);
    test_illegal();
    test_nowhere();
    return test_end();
}
