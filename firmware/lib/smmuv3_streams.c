/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stream table entries and Context descriptors (Arm IHI 0070, 5.1, 5.2 and 5.4). */
#include "mmio.h"
#include "pool.h"
#include "smmuv3.h"

#define STE_WORDS 8
#define CD_WORDS 8

struct ste smmu_ste_make_abort(void)
{
    return (struct ste){{STE0_V | field_put(STE0_CONFIG, STE_CONFIG_ABORT)}};
}

struct ste smmu_ste_make_bypass(void)
{
    return (struct ste){{
        STE0_V | field_put(STE0_CONFIG, STE_CONFIG_BYPASS),
        field_put(STE1_SHCFG, STE_SHCFG_INCOMING),
    }};
}

struct ste smmu_ste_make_s1(const volatile struct cd *cd)
{
    return (struct ste){{
        STE0_V | field_put(STE0_CONFIG, STE_CONFIG_S1) | ((uintptr_t)cd & STE0_S1CONTEXTPTR),
        field_put(STE1_S1DSS, STE_S1DSS_SSID0) | field_put(STE1_S1CIR, STE_CACHE_WB_RA) |
            field_put(STE1_S1COR, STE_CACHE_WB_RA) | field_put(STE1_S1CSH, STE_SH_INNER) |
            field_put(STE1_SHCFG, STE_SHCFG_INCOMING),
    }};
}

/* S2SL0 counts start levels upwards, from another one for each granule (5.2). */
static uint64_t stage2_start(const struct pagetable *stage2)
{
    return (stage2->granule_lg2 == 12 ? 2 : 3) - stage2->start_level;
}

static uint64_t stage2_granule(const struct pagetable *stage2)
{
    return stage2->granule_lg2 == 12   ? CD_TG0_4K
           : stage2->granule_lg2 == 14 ? CD_TG0_16K
                                       : CD_TG0_64K;
}

static void add_stage2(struct ste *ste, uint16_t vmid, const struct pagetable *stage2)
{
    ste->dw[2] = field_put(STE2_S2VMID, vmid) | field_put(STE2_S2T0SZ, 64 - stage2->va_bits) |
                 field_put(STE2_S2SL0, stage2_start(stage2)) |
                 field_put(STE2_S2IR0, CD_CACHE_WB_RA_WA) |
                 field_put(STE2_S2OR0, CD_CACHE_WB_RA_WA) | field_put(STE2_S2SH0, CD_SH_INNER) |
                 field_put(STE2_S2TG, stage2_granule(stage2)) | field_put(STE2_S2PS, CD_IPS_44) |
                 STE2_S2AA64 | STE2_S2R;
    ste->dw[3] = (uintptr_t)stage2->root & STE3_S2TTB;
}

struct ste smmu_ste_make_s2(uint16_t vmid, const struct pagetable *stage2)
{
    struct ste ste = {{
        STE0_V | field_put(STE0_CONFIG, STE_CONFIG_S2),
        field_put(STE1_SHCFG, STE_SHCFG_INCOMING),
    }};

    add_stage2(&ste, vmid, stage2);
    return ste;
}

struct ste smmu_ste_make_nested(uint64_t cd_ipa, uint16_t vmid, const struct pagetable *stage2)
{
    struct ste ste = smmu_ste_make_s1((const volatile struct cd *)cd_ipa);

    ste.dw[0] |= field_put(STE0_CONFIG, STE_CONFIG_NESTED);
    add_stage2(&ste, vmid, stage2);
    return ste;
}

static uint64_t lower_half(const struct pagetable *table)
{
    if (!table)
        return CD0_EPD0;

    unsigned granule = table->granule_lg2 == 12   ? CD_TG0_4K
                       : table->granule_lg2 == 14 ? CD_TG0_16K
                                                  : CD_TG0_64K;
    return field_put(CD0_T0SZ, 64 - table->va_bits) | field_put(CD0_TG0, granule) |
           field_put(CD0_IR0, CD_CACHE_WB_RA_WA) | field_put(CD0_OR0, CD_CACHE_WB_RA_WA) |
           field_put(CD0_SH0, CD_SH_INNER);
}

static uint64_t upper_half(const struct pagetable *table)
{
    if (!table)
        return CD0_EPD1;

    unsigned granule = table->granule_lg2 == 12   ? CD_TG1_4K
                       : table->granule_lg2 == 14 ? CD_TG1_16K
                                                  : CD_TG1_64K;
    return field_put(CD0_T1SZ, 64 - table->va_bits) | field_put(CD0_TG1, granule) |
           field_put(CD0_IR1, CD_CACHE_WB_RA_WA) | field_put(CD0_OR1, CD_CACHE_WB_RA_WA) |
           field_put(CD0_SH1, CD_SH_INNER);
}

struct cd smmu_cd_make(uint16_t asid, const struct pagetable *lower, const struct pagetable *upper)
{
    return (struct cd){{
        lower_half(lower) | upper_half(upper) | CD0_V | field_put(CD0_IPS, CD_IPS_40) | CD0_AA64 |
            CD0_R | CD0_A | CD0_ASET | field_put(CD0_ASID, asid),
        lower ? (uintptr_t)lower->root & CD1_TTB0 : 0,
        upper ? (uintptr_t)upper->root & CD2_TTB1 : 0,
        PAGETABLE_MAIR,
    }};
}

volatile struct cd *smmu_cd_alloc(void)
{
    return pool_alloc(sizeof(struct cd), sizeof(struct cd));
}

/* The doubleword with V goes last, so that the SMMU never meets half of a valid structure. */
void smmu_cd_write(volatile struct cd *target, const struct cd *source)
{
    target->dw[0] = 0;
    dma_write_barrier();
    for (unsigned i = 1; i < CD_WORDS; i++)
        target->dw[i] = source->dw[i];
    dma_write_barrier();
    target->dw[0] = source->dw[0];
    dma_write_barrier();
}

static volatile uint64_t *level2_of(struct smmu *smmu, volatile uint64_t *descriptor)
{
    unsigned split = smmu->config.split;

    if (!field_get(L1STD_SPAN, *descriptor)) {
        size_t size = sizeof(struct ste) << split;
        uint64_t *table = pool_alloc(size, size);

        for (unsigned i = 0; i < BIT(split); i++)
            table[STE_WORDS * i] = smmu_ste_make_abort().dw[0];
        dma_write_barrier();
        *descriptor = (uintptr_t)table | field_put(L1STD_SPAN, split + 1);
        dma_write_barrier();
    }
    return (volatile uint64_t *)(*descriptor & L1STD_L2PTR);
}

volatile struct ste *smmu_ste_of(struct smmu *smmu, uint32_t sid)
{
    unsigned split = smmu->config.split;

    if (!split)
        return (volatile struct ste *)&smmu->strtab[STE_WORDS * sid];

    volatile uint64_t *level2 = level2_of(smmu, &smmu->strtab[sid >> split]);
    return (volatile struct ste *)&level2[STE_WORDS * (sid & (BIT(split) - 1))];
}

bool smmu_stream_attach(struct smmu *smmu, uint32_t sid, const struct ste *ste)
{
    volatile struct ste *entry = smmu_ste_of(smmu, sid);

    entry->dw[0] = 0;
    dma_write_barrier();
    if (!smmu_issue_sync(smmu, smmu_cmd_cfgi_ste(sid, true)))
        return false;

    for (unsigned i = 1; i < STE_WORDS; i++)
        entry->dw[i] = ste->dw[i];
    dma_write_barrier();
    if (!smmu_issue_sync(smmu, smmu_cmd_cfgi_ste(sid, true)))
        return false;

    entry->dw[0] = ste->dw[0];
    dma_write_barrier();
    return smmu_issue_sync(smmu, smmu_cmd_cfgi_ste(sid, true));
}
