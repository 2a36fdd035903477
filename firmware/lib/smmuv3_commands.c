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

bool smmu_sync_by_message(struct smmu *smmu)
{
    struct smmu_queue *queue = &smmu->cmdq;
    volatile uint64_t *slot = &queue->ring[(queue->prod & index_mask(queue)) * queue->entry_words];
    struct smmu_command sync = smmu_cmd_sync_msi((uintptr_t)slot, 0);

    if (!smmu_issue(smmu, &sync))
        return false;
    for (unsigned i = 0; i < POLLS; i++) {
        if (!(uint32_t)*slot) {
            dma_read_barrier();
            return true;
        }
    }
    printf("smmu: the message of CMD_SYNC has not come\n");
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

struct smmu_command smmu_cmd_cfgi_cd_of(uint32_t sid, uint32_t ssid, bool leaf)
{
    struct smmu_command command = smmu_cmd_cfgi_cd(sid, leaf);

    command.dw[0] |= field_put(CMD_CFGI0_SUBSTREAMID, ssid);
    return command;
}

struct smmu_command smmu_cmd_tlbi_vmid(unsigned opcode, uint16_t vmid)
{
    return (struct smmu_command){{
        field_put(CMD0_OPCODE, opcode) | field_put(CMD_TLBI0_VMID, vmid),
        0,
    }};
}

static struct smmu_command by_address(unsigned opcode, uint64_t tag, uint64_t address, bool leaf)
{
    return (struct smmu_command){{
        field_put(CMD0_OPCODE, opcode) | tag,
        (address & CMD_TLBI1_ADDRESS) | field_put(CMD_TLBI1_LEAF, leaf),
    }};
}

struct smmu_command smmu_cmd_tlbi_ipa(uint16_t vmid, uint64_t ipa, bool leaf)
{
    return by_address(CMD_TLBI_S2_IPA, field_put(CMD_TLBI0_VMID, vmid), ipa, leaf);
}

struct smmu_command smmu_cmd_tlbi_el2_va(uint16_t asid, uint64_t address, bool leaf)
{
    return by_address(CMD_TLBI_EL2_VA, field_put(CMD_TLBI0_ASID, asid), address, leaf);
}

struct smmu_command smmu_cmd_tlbi_el2_vaa(uint64_t address, bool leaf)
{
    return by_address(CMD_TLBI_EL2_VAA, 0, address, leaf);
}

struct smmu_command smmu_cmd_tlbi_el2_asid(uint16_t asid)
{
    return by_address(CMD_TLBI_EL2_ASID, field_put(CMD_TLBI0_ASID, asid), 0, false);
}

struct smmu_command smmu_cmd_with_range(struct smmu_command tlbi, unsigned granule_lg2,
                                        unsigned num, unsigned scale, unsigned level)
{
    unsigned tg = granule_lg2 == 12   ? CMD_TLBI_TG_4K
                  : granule_lg2 == 14 ? CMD_TLBI_TG_16K
                                      : CMD_TLBI_TG_64K;

    tlbi.dw[0] |= field_put(CMD_TLBI0_NUM, num) | field_put(CMD_TLBI0_SCALE, scale);
    tlbi.dw[1] |= field_put(CMD_TLBI1_TG, tg) | field_put(CMD_TLBI1_TTL, level);
    return tlbi;
}

struct smmu_command smmu_cmd_resume(uint32_t sid, uint16_t stag, uint64_t action)
{
    return (struct smmu_command){{
        field_put(CMD0_OPCODE, CMD_RESUME) | field_put(CMD_RESUME0_STREAMID, sid) | action,
        field_put(CMD_RESUME1_STAG, stag),
    }};
}

struct smmu_command smmu_cmd_stall_term(uint32_t sid)
{
    return (struct smmu_command){{
        field_put(CMD0_OPCODE, CMD_STALL_TERM) | field_put(CMD_RESUME0_STREAMID, sid),
        0,
    }};
}

struct smmu_command smmu_cmd_atc_inv(uint32_t sid, uint64_t address, unsigned size_lg2)
{
    return (struct smmu_command){{
        field_put(CMD0_OPCODE, CMD_ATC_INV) | field_put(CMD_ATC_INV0_STREAMID, sid),
        (address & CMD_ATC_INV1_ADDRESS) | field_put(CMD_ATC_INV1_SIZE, size_lg2),
    }};
}

struct smmu_command smmu_cmd_pri_resp(const struct smmu_page_request *request, unsigned response)
{
    uint64_t asked = request->dw[0];
    uint64_t pasid = asked & PRI0_SSV ? CMD_PRI_RESP0_SSV : 0;

    return (struct smmu_command){{
        field_put(CMD0_OPCODE, CMD_PRI_RESP) | pasid |
            field_put(CMD_PRI_RESP0_SUBSTREAMID, field_get(PRI0_SUBSTREAMID, asked)) |
            field_put(CMD_PRI_RESP0_STREAMID, field_get(PRI0_STREAMID, asked)),
        field_put(CMD_PRI_RESP1_INDEX, field_get(PRI1_INDEX, request->dw[1])) |
            field_put(CMD_PRI_RESP1_RESP, response),
    }};
}

struct smmu_command smmu_cmd_sync_msi(uint64_t address, uint32_t data)
{
    struct smmu_command command = smmu_cmd_sync(CMD_SYNC_CS_IRQ);

    command.dw[0] |= field_put(CMD_SYNC0_MSIDATA, data);
    command.dw[1] = address & CMD_SYNC1_MSIADDRESS;
    return command;
}
