/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Probe, reset and global errors of an SMMUv3. */
#include "smmuv3.h"

#include "console.h"
#include "mmio.h"
#include "pool.h"

#define POLLS 1000000

#define COMMAND_WORDS 2
#define EVENT_WORDS 4
#define PAGE_REQUEST_WORDS 2

uint32_t smmu_read(const struct smmu *smmu, unsigned offset)
{
    return read32(smmu->base + offset);
}

void smmu_write(const struct smmu *smmu, unsigned offset, uint32_t value)
{
    write32(smmu->base + offset, value);
}

void smmu_write64(const struct smmu *smmu, unsigned offset, uint64_t value)
{
    write64(smmu->base + offset, value);
}

bool smmu_write_acked(const struct smmu *smmu, unsigned reg, unsigned ack, uint32_t value)
{
    smmu_write(smmu, reg, value);
    for (unsigned i = 0; i < POLLS; i++) {
        if (smmu_read(smmu, ack) == value)
            return true;
    }
    printf("smmu: register 0x%x: 0x%x was written, 0x%x is acknowledged\n", reg, value,
           smmu_read(smmu, ack));
    return false;
}

bool smmu_probe(struct smmu *smmu, uintptr_t base)
{
    smmu->base = base;
    smmu->idr0 = smmu_read(smmu, SMMU_IDR0);
    smmu->idr1 = smmu_read(smmu, SMMU_IDR1);
    smmu->idr3 = smmu_read(smmu, SMMU_IDR3);
    smmu->idr5 = smmu_read(smmu, SMMU_IDR5);

    const char *missing = NULL;
    if (!(smmu->idr0 & IDR0_S1P))
        missing = "stage 1";
    else if (!(field_get(IDR0_TTF, smmu->idr0) & IDR0_TTF_AARCH64))
        missing = "AArch64 tables";
    else if (!(smmu->idr0 & IDR0_COHACC))
        missing = "coherent access to tables and queues";
    else if (smmu->idr1 & (IDR1_QUEUES_PRESET | IDR1_TABLES_PRESET))
        missing = "tables and queues where software wants them";
    if (missing) {
        printf("smmu: this driver needs %s\n", missing);
        return false;
    }
    printf("SMMUv3 at 0x%08lx: stage 1, AArch64 tables\n", base);
    return true;
}

bool smmu_cr0_set(struct smmu *smmu, uint32_t bits)
{
    smmu->cr0 |= bits;
    return smmu_write_acked(smmu, SMMU_CR0, SMMU_CR0ACK, smmu->cr0);
}

bool smmu_cr0_clear(struct smmu *smmu, uint32_t bits)
{
    smmu->cr0 &= ~bits;
    return smmu_write_acked(smmu, SMMU_CR0, SMMU_CR0ACK, smmu->cr0);
}

static bool gbpa_idle(const struct smmu *smmu)
{
    for (unsigned i = 0; i < POLLS; i++) {
        if (!(smmu_read(smmu, SMMU_GBPA) & GBPA_UPDATE))
            return true;
    }
    printf("smmu: GBPA.UPDATE stays set\n");
    return false;
}

bool smmu_gbpa_set_abort(struct smmu *smmu, bool abort)
{
    if (!gbpa_idle(smmu))
        return false;

    uint32_t gbpa = smmu_read(smmu, SMMU_GBPA) & ~GBPA_ABORT;
    smmu_write(smmu, SMMU_GBPA, gbpa | (abort ? GBPA_ABORT : 0) | GBPA_UPDATE);
    return gbpa_idle(smmu);
}

static void queue_alloc(struct smmu_queue *queue, unsigned lg2, unsigned entry_words)
{
    size_t size = (8ul * entry_words) << lg2;

    queue->ring = pool_alloc(size, size);
    queue->lg2 = lg2;
    queue->entry_words = entry_words;
    queue->prod = 0;
    queue->cons = 0;
}

static uint64_t queue_base(const struct smmu_queue *queue)
{
    return (uintptr_t)queue->ring | QUEUE_BASE_ALLOCATE |
           field_put(QUEUE_BASE_LOG2SIZE, queue->lg2);
}

void smmu_strtab_install(struct smmu *smmu, uint64_t address)
{
    const struct smmu_config *config = &smmu->config;
    uint64_t cfg = field_put(STRTAB_BASE_CFG_LOG2SIZE, config->sid_lg2);

    if (config->split)
        cfg |= field_put(STRTAB_BASE_CFG_SPLIT, config->split) |
               field_put(STRTAB_BASE_CFG_FMT, STRTAB_FMT_TWO_LEVEL);
    smmu_write64(smmu, SMMU_STRTAB_BASE, (address & STRTAB_BASE_ADDR) | STRTAB_BASE_RA);
    smmu_write(smmu, SMMU_STRTAB_BASE_CFG, (uint32_t)cfg);
}

/* Zeroes are right for both: an invalid level 1 descriptor, an invalid STE. */
static void strtab_alloc(struct smmu *smmu)
{
    const struct smmu_config *config = &smmu->config;
    size_t size = config->split ? 8ul << (config->sid_lg2 - config->split)
                                : sizeof(struct ste) << config->sid_lg2;

    smmu->strtab = pool_alloc(size, size < 64 ? 64 : size);
    if (config->split)
        return;
    for (uint32_t sid = 0; sid < BIT(config->sid_lg2); sid++)
        smmu->strtab[8 * sid] = smmu_ste_make_abort().dw[0];
}

static bool disable(struct smmu *smmu)
{
    if (smmu_read(smmu, SMMU_CR0) & CR0_SMMUEN) {
        printf("smmu: was on; aborting what is under way\n");
        if (!smmu_gbpa_set_abort(smmu, true))
            return false;
    }
    smmu->cr0 = 0;
    return smmu_cr0_clear(smmu, 0);
}

static void set_attributes(struct smmu *smmu)
{
    uint64_t cr1 = field_put(CR1_TABLE_SH, CR1_SH_INNER) | field_put(CR1_TABLE_OC, CR1_CACHE_WB) |
                   field_put(CR1_TABLE_IC, CR1_CACHE_WB) | field_put(CR1_QUEUE_SH, CR1_SH_INNER) |
                   field_put(CR1_QUEUE_OC, CR1_CACHE_WB) | field_put(CR1_QUEUE_IC, CR1_CACHE_WB);

    smmu_write(smmu, SMMU_CR1, (uint32_t)cr1);
    smmu_write(smmu, SMMU_CR2, CR2_PTM | CR2_RECINVSID | (smmu->config.e2h ? CR2_E2H : 0));
}

static bool start_command_queue(struct smmu *smmu)
{
    smmu_write64(smmu, SMMU_CMDQ_BASE, queue_base(&smmu->cmdq));
    smmu_write(smmu, SMMU_CMDQ_PROD, smmu->cmdq.prod);
    smmu_write(smmu, SMMU_CMDQ_CONS, smmu->cmdq.cons);
    if (!smmu_cr0_set(smmu, CR0_CMDQEN))
        return false;

    if (!smmu_issue_sync(smmu, smmu_cmd_cfgi_all()))
        return false;
    if (smmu->idr0 & IDR0_HYP && !smmu_issue_sync(smmu, smmu_cmd_tlbi(CMD_TLBI_EL2_ALL)))
        return false;
    return smmu_issue_sync(smmu, smmu_cmd_tlbi(CMD_TLBI_NSNH_ALL));
}

static bool start_event_queue(struct smmu *smmu)
{
    smmu_write64(smmu, SMMU_EVENTQ_BASE, queue_base(&smmu->evtq));
    smmu_write(smmu, SMMU_EVENTQ_PROD, smmu->evtq.prod);
    smmu_write(smmu, SMMU_EVENTQ_CONS, smmu->evtq.cons);
    return smmu_cr0_set(smmu, CR0_EVENTQEN);
}

static bool start_page_request_queue(struct smmu *smmu)
{
    if (!smmu->config.priq_lg2)
        return true;
    smmu_write64(smmu, SMMU_PRIQ_BASE, queue_base(&smmu->priq));
    smmu_write(smmu, SMMU_PRIQ_PROD, smmu->priq.prod);
    smmu_write(smmu, SMMU_PRIQ_CONS, smmu->priq.cons);
    return smmu_cr0_set(smmu, CR0_PRIQEN);
}

bool smmu_interrupts_set(struct smmu *smmu, uint32_t enabled)
{
    return smmu_write_acked(smmu, SMMU_IRQ_CTRL, SMMU_IRQ_CTRLACK, enabled);
}

/* Wired interrupts, not messages; off until somebody wants them. */
static bool reset_interrupts(struct smmu *smmu)
{
    if (!smmu_interrupts_set(smmu, 0))
        return false;
    if (smmu->idr0 & IDR0_MSI) {
        smmu_write64(smmu, SMMU_GERROR_IRQ_CFG0, 0);
        smmu_write64(smmu, SMMU_EVENTQ_IRQ_CFG0, 0);
    }
    return true;
}

bool smmu_init(struct smmu *smmu, const struct smmu_config *config)
{
    smmu->config = *config;
    strtab_alloc(smmu);
    queue_alloc(&smmu->cmdq, config->cmdq_lg2, COMMAND_WORDS);
    queue_alloc(&smmu->evtq, config->evtq_lg2, EVENT_WORDS);
    if (config->priq_lg2)
        queue_alloc(&smmu->priq, config->priq_lg2, PAGE_REQUEST_WORDS);
    dma_write_barrier();

    if (!disable(smmu))
        return false;
    set_attributes(smmu);
    smmu_strtab_install(smmu, (uintptr_t)smmu->strtab);
    return start_command_queue(smmu) && start_event_queue(smmu) && start_page_request_queue(smmu) &&
           (!config->ats || smmu_cr0_set(smmu, CR0_ATSCHK)) && reset_interrupts(smmu) &&
           smmu_cr0_set(smmu, CR0_SMMUEN);
}

uint32_t smmu_gerror_active(const struct smmu *smmu)
{
    return smmu_read(smmu, SMMU_GERROR) ^ smmu_read(smmu, SMMU_GERRORN);
}

void smmu_gerror_acknowledge(struct smmu *smmu, uint32_t errors)
{
    smmu_write(smmu, SMMU_GERRORN, smmu_read(smmu, SMMU_GERRORN) ^ errors);
}
