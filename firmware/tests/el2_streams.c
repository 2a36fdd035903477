/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Streams of EL2 (Arm IHI 0070, 3.3.3 and 5.2 STRW): without E2H one table, no ASIDs, and no
 * difference between privileged and user; with E2H two tables and ASIDs, as at EL1, and under none
 * of the VMIDs.
 */
#include "board.h"
#include "console.h"
#include "mmio.h"
#include "rig.h"

#define ASID 5
#define OTHER_ASID 6
#define IOVA 0x20300000ul
#define UPPER_IOVA 0xffffff8000123000ul
#define PAGE_PA (DMA_BASE + 0x1000)
#define UPPER_PA (DMA_BASE + 0x2000)

static struct rig rig;
static struct pagetable lower;
static struct pagetable upper;

static bool issue(struct smmu_command command)
{
    return smmu_issue_sync(&rig.smmu, command);
}

static void map(void)
{
    pagetable_map(&lower, IOVA, PAGE_PA, 3, PTE_READ_WRITE);
    pagetable_map(&upper, UPPER_IOVA, UPPER_PA, 3, PTE_READ_WRITE);
}

static void unmap(void)
{
    *pagetable_descriptor(&lower, IOVA, 3) = 0;
    *pagetable_descriptor(&upper, UPPER_IOVA, 3) = 0;
    dma_write_barrier();
}

static void attach(const struct pagetable *second)
{
    volatile struct cd *memory = smmu_cd_alloc();
    struct cd cd = smmu_cd_make(ASID, &lower, second);
    struct ste ste = smmu_ste_make_s1(memory);

    ste.dw[1] |= field_put(STE1_STRW, STE_STRW_EL2);
    smmu_cd_write(memory, &cd);
    check(smmu_stream_attach(&rig.smmu, rig.sid, &ste), "STE.STRW = EL2");
    issue(smmu_cmd_tlbi(CMD_TLBI_EL2_ALL));
}

/* CR2 may be written only while the SMMU is off; both kinds of EL2 entries go when E2H changes. */
static void set_e2h(bool e2h)
{
    smmu_gbpa_set_abort(&rig.smmu, true);
    smmu_cr0_clear(&rig.smmu, CR0_SMMUEN);
    smmu_write(&rig.smmu, SMMU_CR2, CR2_PTM | CR2_RECINVSID | (e2h ? CR2_E2H : 0));
    issue(smmu_cmd_cfgi_all());
    issue(smmu_cmd_tlbi(CMD_TLBI_EL2_ALL));
    smmu_cr0_set(&rig.smmu, CR0_SMMUEN);
}

/* Which of the two addresses an invalidation makes the SMMU forget. */
static void check_invalidation(struct smmu_command command, bool lower_goes, bool upper_goes,
                               const char *what)
{
    struct smmu_event event;

    map();
    issue(smmu_cmd_tlbi(CMD_TLBI_EL2_ALL));
    bool good = dma_lands(&rig, IOVA, PAGE_PA, 4);
    if (rig.smmu.config.e2h)
        good = dma_lands(&rig, UPPER_IOVA, UPPER_PA, 4) && good;
    unmap();
    good = issue(command) && good;
    bool lower_gone = testdev_dma(&rig.dev, IOVA, PAGE_PA, 4) != TESTDEV_OK;
    bool upper_gone = testdev_dma(&rig.dev, UPPER_IOVA, UPPER_PA, 4) != TESTDEV_OK;
    while (smmu_event_pop(&rig.smmu, &event)) {
    }
    if (!rig.smmu.config.e2h)
        upper_gone = upper_goes;
    check(good && lower_gone == lower_goes && upper_gone == upper_goes, "%s: %s", what,
          lower_goes || upper_goes ? "forgotten" : "still there");
}

static void test_el2(void)
{
    test_section("StreamWorld EL2, CR2.E2H = 0: one table");
    attach(&upper);
    map();
    check_dma_lands(&rig, IOVA, PAGE_PA, "by TTB0");
    check_dma_faults(&rig, UPPER_IOVA, EVENT_F_TRANSLATION, "there is no TTB1");
    pagetable_map(&lower, IOVA + 0x1000, PAGE_PA, 3, PTE_READ_WRITE & ~PTE_AP_UNPRIVILEGED);
    check_dma_lands(&rig, IOVA + 0x1000, PAGE_PA, "AP[1] = 0 is no hindrance");
    pagetable_map(&lower, IOVA + 0x2000, PAGE_PA, 3, PTE_READ_ONLY);
    check_dma_faults(&rig, IOVA + 0x2000, EVENT_F_PERMISSION, "read-only");

    check_invalidation(smmu_cmd_tlbi(CMD_TLBI_NSNH_ALL), false, false, "CMD_TLBI_NSNH_ALL");
    check_invalidation(smmu_cmd_tlbi(CMD_TLBI_NH_ALL), false, false, "CMD_TLBI_NH_ALL");
    check_invalidation(smmu_cmd_tlbi_vaa(IOVA, true), false, false, "CMD_TLBI_NH_VAA");
    check_invalidation(smmu_cmd_tlbi_el2_va(0, IOVA + 0x1000, true), false, false,
                       "CMD_TLBI_EL2_VA, another page");
    check_invalidation(smmu_cmd_tlbi_el2_va(OTHER_ASID, IOVA, true), true, false,
                       "CMD_TLBI_EL2_VA, whatever the ASID");
    check_invalidation(smmu_cmd_tlbi(CMD_TLBI_EL2_ALL), true, false, "CMD_TLBI_EL2_ALL");
}

static void test_e2h(void)
{
    test_section("StreamWorld EL2, CR2.E2H = 1: two tables, ASIDs");
    rig.smmu.config.e2h = true;
    set_e2h(true);
    attach(&upper);
    map();
    check_dma_lands(&rig, IOVA, PAGE_PA, "by TTB0");
    check_dma_lands(&rig, UPPER_IOVA, UPPER_PA, "by TTB1");
    pagetable_map(&lower, IOVA + 0x1000, PAGE_PA, 3, PTE_READ_WRITE & ~PTE_AP_UNPRIVILEGED);
    check_dma_faults(&rig, IOVA + 0x1000, EVENT_F_PERMISSION, "AP[1] = 0: not for users");

    check_invalidation(smmu_cmd_tlbi(CMD_TLBI_NSNH_ALL), false, false, "CMD_TLBI_NSNH_ALL");
    check_invalidation(smmu_cmd_tlbi_asid(ASID), false, false, "CMD_TLBI_NH_ASID");
    check_invalidation(smmu_cmd_tlbi_el2_asid(OTHER_ASID), false, false,
                       "CMD_TLBI_EL2_ASID, another ASID");
    check_invalidation(smmu_cmd_tlbi_el2_asid(ASID), true, true, "CMD_TLBI_EL2_ASID");
    check_invalidation(smmu_cmd_tlbi_el2_va(OTHER_ASID, IOVA, true), false, false,
                       "CMD_TLBI_EL2_VA, another ASID");
    check_invalidation(smmu_cmd_tlbi_el2_va(ASID, IOVA, true), true, false, "CMD_TLBI_EL2_VA");
    check_invalidation(smmu_cmd_tlbi_el2_vaa(UPPER_IOVA, true), false, true, "CMD_TLBI_EL2_VAA");
    check_invalidation(smmu_cmd_tlbi(CMD_TLBI_EL2_ALL), true, true, "CMD_TLBI_EL2_ALL");
}

/* Nothing that EL1 may invalidate reaches EL2's entries, and the other way round. */
static void test_apart(void)
{
    struct ste ste;
    volatile struct cd *memory = smmu_cd_alloc();
    struct cd cd = smmu_cd_make(ASID, &lower, &upper);

    test_section("The same tables and ASID, at EL1");
    smmu_cd_write(memory, &cd);
    ste = smmu_ste_make_s1(memory);
    smmu_stream_attach(&rig.smmu, rig.sid, &ste);
    map();
    check_dma_lands(&rig, IOVA, PAGE_PA, "mapped");
    unmap();
    issue(smmu_cmd_tlbi(CMD_TLBI_EL2_ALL));
    issue(smmu_cmd_tlbi_el2_asid(ASID));
    check_dma_lands(&rig, IOVA, PAGE_PA, "commands of EL2 do not reach it");
    issue(smmu_cmd_tlbi_asid(ASID));
    check_dma_faults(&rig, IOVA, EVENT_F_TRANSLATION, "CMD_TLBI_NH_ASID does");
}

int main(void)
{
    test_begin("el2_streams: streams of EL2, without and with E2H");
    if (!rig_start(&rig, &RIG_CONFIG_DEFAULT))
        return test_end();
    if (!(rig.smmu.idr0 & IDR0_HYP))
        return test_absent("streams of EL2 (SMMU_IDR0.Hyp)");
    pagetable_init(&lower, 12, 39, false);
    pagetable_init(&upper, 12, 39, true);

    test_el2();
    test_e2h();
    test_apart();
    return test_end();
}
