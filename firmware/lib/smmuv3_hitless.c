/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Changing an STE under the eyes of the SMMU (Arm IHI 0070, 3.21.3.1).
 *
 * The SMMU may read an STE at any moment, and sees a doubleword of it at a time. What it looks at
 * depends on the STE itself: an STE that aborts has no other field that counts. So fields that the
 * present STE does not use may be written at any time. If all that then differs, of what the new
 * one uses, is in one doubleword, that is stored at once; what the new STE does not use may go
 * afterwards. Where two doublewords would have to change together, the STE is invalid in between.
 */
#include "mmio.h"
#include "smmuv3.h"

#define STE_WORDS 8

/* Fields that count while transactions pass at all, with stage 1, and with stage 2 (5.2). */
static const struct ste passing = {{
    [1] = STE1_MEV | STE1_CONT | STE1_MTCFG | STE1_MEMATTR | STE1_ALLOCCFG | STE1_SHCFG |
          STE1_PRIVCFG | STE1_INSTCFG,
}};
static const struct ste stage1 = {{
    [0] = STE0_S1FMT | STE0_S1CONTEXTPTR | STE0_S1CDMAX,
    [1] = STE1_S1DSS | STE1_S1CIR | STE1_S1COR | STE1_S1CSH | STE1_S1STALLD | STE1_STRW |
          STE1_EATS | STE1_PPAR,
    [2] = STE2_S2VMID,
}};
static const struct ste stage2 = {{
    [1] = STE1_S2HWU | STE1_S2FWB | STE1_EATS,
    [2] = STE2_S2VMID | STE2_STAGE2,
    [3] = STE3_S2TTB,
}};

static void add(struct ste *mask, const struct ste *fields)
{
    for (unsigned i = 0; i < STE_WORDS; i++)
        mask->dw[i] |= fields->dw[i];
}

/* The bits of an STE that the SMMU looks at. */
static struct ste used_by(const struct ste *ste)
{
    struct ste mask = {{STE0_V}};
    uint64_t config = field_get(STE0_CONFIG, ste->dw[0]);

    if (!(ste->dw[0] & STE0_V))
        return mask;
    mask.dw[0] |= STE0_CONFIG;
    if (!(config & STE_CONFIG_BYPASS))
        return mask;
    add(&mask, &passing);
    if (config & 1)
        add(&mask, &stage1);
    if (config & 2)
        add(&mask, &stage2);
    return mask;
}

struct change {
    struct smmu *smmu;
    uint32_t sid;
    smmu_look look;
    void *context;
    unsigned steps;
};

/* Stores what differs, doubleword 0 last; then the SMMU is told. Nothing to do is no step. */
static bool step(struct change *change, const struct ste *value)
{
    volatile struct ste *entry = smmu_ste_of(change->smmu, change->sid);
    bool differs = false;

    for (unsigned i = 1; i <= STE_WORDS; i++) {
        unsigned word = i % STE_WORDS;

        if (entry->dw[word] == value->dw[word])
            continue;
        if (!word)
            dma_write_barrier();
        entry->dw[word] = value->dw[word];
        differs = true;
    }
    if (!differs)
        return true;
    dma_write_barrier();
    if (!smmu_issue_sync(change->smmu, smmu_cmd_cfgi_ste(change->sid, true)))
        return false;
    change->steps++;
    if (change->look)
        change->look(change->context, change->steps);
    return true;
}

static bool through_invalid(struct change *change, struct ste current, const struct ste *target)
{
    struct ste invalid = *target;

    current.dw[0] &= ~STE0_V;
    invalid.dw[0] &= ~STE0_V;
    return step(change, &current) && step(change, &invalid) && step(change, target);
}

bool smmu_ste_change(struct smmu *smmu, uint32_t sid, const struct ste *target, smmu_look look,
                     void *context)
{
    struct change change = {smmu, sid, look, context, 0};
    volatile struct ste *entry = smmu_ste_of(smmu, sid);
    struct ste current, prepared;
    unsigned critical = 0;
    unsigned count = 0;

    for (unsigned i = 0; i < STE_WORDS; i++)
        current.dw[i] = entry->dw[i];

    struct ste used_now = used_by(&current);
    struct ste used_then = used_by(target);
    for (unsigned i = 0; i < STE_WORDS; i++) {
        uint64_t kept = current.dw[i] & used_now.dw[i];

        prepared.dw[i] = kept | (target->dw[i] & used_then.dw[i] & ~used_now.dw[i]);
        if ((prepared.dw[i] ^ target->dw[i]) & used_then.dw[i]) {
            critical = i;
            count++;
        }
    }
    if (count > 1)
        return through_invalid(&change, current, target);
    if (!step(&change, &prepared))
        return false;
    if (count)
        prepared.dw[critical] = target->dw[critical];
    return step(&change, &prepared) && step(&change, target);
}
