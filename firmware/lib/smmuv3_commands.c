/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The Command queue of an SMMUv3 (Arm IHI 0070, 3.5 and chapter 4). */
#include "console.h"
#include "mmio.h"
#include "smmuv3.h"

#define POLLS 1000000

static uint32_t index_mask(const struct smmu_queue *queue)
{
    return (uint32_t)BIT(queue->lg2) - 1;
}

/* The index with the wrap bit above it: what CONS and PROD hold besides flags. */
static uint32_t position_mask(const struct smmu_queue *queue)
{
    return (uint32_t)BIT(queue->lg2 + 1) - 1;
}

static void update_cons(struct smmu *smmu)
{
    smmu->cmdq.cons = smmu_read(smmu, SMMU_CMDQ_CONS) & position_mask(&smmu->cmdq);
}

bool smmu_command_queue_full(struct smmu *smmu)
{
    const struct smmu_queue *queue = &smmu->cmdq;

    update_cons(smmu);
    return (queue->prod ^ queue->cons) == BIT(queue->lg2);
}

uint32_t smmu_command_error(const struct smmu *smmu)
{
    return (uint32_t)field_get(CMDQ_CONS_ERR, smmu_read(smmu, SMMU_CMDQ_CONS));
}

void smmu_command_put(struct smmu *smmu, const struct smmu_command *command)
{
    struct smmu_queue *queue = &smmu->cmdq;
    volatile uint64_t *slot = &queue->ring[(queue->prod & index_mask(queue)) * queue->entry_words];

    slot[0] = command->dw[0];
    slot[1] = command->dw[1];
    queue->prod = (queue->prod + 1) & position_mask(queue);
}

void smmu_command_ring(struct smmu *smmu)
{
    dma_write_barrier();
    smmu_write(smmu, SMMU_CMDQ_PROD, smmu->cmdq.prod);
}

bool smmu_issue(struct smmu *smmu, const struct smmu_command *command)
{
    for (unsigned i = 0; smmu_command_queue_full(smmu); i++) {
        if (i == POLLS || smmu_gerror_active(smmu) & GERROR_CMDQ_ERR)
            return false;
    }
    smmu_command_put(smmu, command);
    smmu_command_ring(smmu);
    return true;
}

/* SIG_SEV, as CMD_SYNC is used where the SMMU sends no messages; it ends without SEV, too. */
bool smmu_sync(struct smmu *smmu)
{
    struct smmu_command sync = smmu_cmd_sync(CMD_SYNC_CS_SEV);

    if (!smmu_issue(smmu, &sync))
        return false;
    for (unsigned i = 0; i < POLLS; i++) {
        update_cons(smmu);
        if (smmu->cmdq.cons == smmu->cmdq.prod)
            return true;
        if (smmu_gerror_active(smmu) & GERROR_CMDQ_ERR)
            return false;
    }
    printf("smmu: CMD_SYNC was not consumed\n");
    return false;
}

bool smmu_issue_sync(struct smmu *smmu, struct smmu_command command)
{
    return smmu_issue(smmu, &command) && smmu_sync(smmu);
}

struct smmu_command smmu_cmd_cfgi_ste(uint32_t sid, bool leaf)
{
    return (struct smmu_command){{
        field_put(CMD0_OPCODE, CMD_CFGI_STE) | field_put(CMD_CFGI0_STREAMID, sid),
        field_put(CMD_CFGI1_LEAF, leaf),
    }};
}

struct smmu_command smmu_cmd_cfgi_cd(uint32_t sid, bool leaf)
{
    return (struct smmu_command){{
        field_put(CMD0_OPCODE, CMD_CFGI_CD) | field_put(CMD_CFGI0_STREAMID, sid),
        field_put(CMD_CFGI1_LEAF, leaf),
    }};
}

struct smmu_command smmu_cmd_cfgi_all(void)
{
    return (struct smmu_command){{
        field_put(CMD0_OPCODE, CMD_CFGI_STE_RANGE),
        field_put(CMD_CFGI1_RANGE, CMD_CFGI_RANGE_ALL),
    }};
}

struct smmu_command smmu_cmd_tlbi_va(uint16_t asid, uint64_t address, bool leaf)
{
    return (struct smmu_command){{
        field_put(CMD0_OPCODE, CMD_TLBI_NH_VA) | field_put(CMD_TLBI0_ASID, asid),
        (address & CMD_TLBI1_ADDRESS) | field_put(CMD_TLBI1_LEAF, leaf),
    }};
}

struct smmu_command smmu_cmd_tlbi_vaa(uint64_t address, bool leaf)
{
    return (struct smmu_command){{
        field_put(CMD0_OPCODE, CMD_TLBI_NH_VAA),
        (address & CMD_TLBI1_ADDRESS) | field_put(CMD_TLBI1_LEAF, leaf),
    }};
}

struct smmu_command smmu_cmd_tlbi_asid(uint16_t asid)
{
    return (struct smmu_command){{
        field_put(CMD0_OPCODE, CMD_TLBI_NH_ASID) | field_put(CMD_TLBI0_ASID, asid),
        0,
    }};
}

struct smmu_command smmu_cmd_tlbi(unsigned opcode)
{
    return (struct smmu_command){{field_put(CMD0_OPCODE, opcode), 0}};
}

struct smmu_command smmu_cmd_sync(unsigned signal)
{
    return (struct smmu_command){{
        field_put(CMD0_OPCODE, CMD_SYNC) | field_put(CMD_SYNC0_CS, signal),
        0,
    }};
}
