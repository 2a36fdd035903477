/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the SMMU remembers: a translation and a configuration stay in use until software says that
 * they changed (Arm IHI 0070, 3.21 and 16.2).
 *
 * The architecture lets an SMMU forget at any time. The ones that this image is for keep what
 * nothing invalidates, so the stale result is certain, and a lost entry is a failure.
 */
#include "board.h"
#include "console.h"
#include "mmio.h"
#include "rig.h"

#define ASID 5
#define OTHER_ASID 6

#define PAGE_IOVA 0x20300000ul
#define PAGE_PA (DMA_BASE + 0x1000)
#define OTHER_PA (DMA_BASE + 0x5000)
#define FAR_IOVA 0x7000000ul
#define BLOCK_IOVA 0x40600000ul
#define BLOCK_PA (DMA_BASE + 0x200000)
#define BLOCK_ALIAS 0x123000ul /* a page somewhere in the block */

static struct rig rig;
static struct pagetable table;

static bool issue(struct smmu_command command)
{
    return smmu_issue_sync(&rig.smmu, command);
}

static volatile uint64_t *page(void)
{
    return pagetable_descriptor(&table, PAGE_IOVA, 3);
}

static volatile uint64_t *block(void)
{
    return pagetable_descriptor(&table, BLOCK_IOVA, 2);
}

static void set(volatile uint64_t *descriptor, uint64_t value)
{
    *descriptor = value;
    dma_write_barrier();
}

static const struct invalidation {
    const char *name;
    struct smmu_command (*command)(void);
    bool removes; /* the entry of PAGE_IOVA with ASID */
} invalidations[];

static struct smmu_command va(void)
{
    return smmu_cmd_tlbi_va(ASID, PAGE_IOVA, true);
}

static struct smmu_command va_not_leaf(void)
{
    return smmu_cmd_tlbi_va(ASID, PAGE_IOVA, false);
}

static struct smmu_command va_other_asid(void)
{
    return smmu_cmd_tlbi_va(OTHER_ASID, PAGE_IOVA, true);
}

static struct smmu_command va_other_page(void)
{
    return smmu_cmd_tlbi_va(ASID, PAGE_IOVA + 0x1000, true);
}

static struct smmu_command vaa(void)
{
    return smmu_cmd_tlbi_vaa(PAGE_IOVA, true);
}

static struct smmu_command asid(void)
{
    return smmu_cmd_tlbi_asid(ASID);
}

static struct smmu_command other_asid(void)
{
    return smmu_cmd_tlbi_asid(OTHER_ASID);
}

static struct smmu_command nh_all(void)
{
    return smmu_cmd_tlbi(CMD_TLBI_NH_ALL);
}

static struct smmu_command nsnh_all(void)
{
    return smmu_cmd_tlbi(CMD_TLBI_NSNH_ALL);
}

static struct smmu_command cfgi_ste(void)
{
    return smmu_cmd_cfgi_ste(rig.sid, true);
}

static const struct invalidation invalidations[] = {
    {"CMD_TLBI_NH_VA", va, true},
    {"CMD_TLBI_NH_VA, Leaf=0", va_not_leaf, true},
    {"CMD_TLBI_NH_VA, another ASID", va_other_asid, false},
    {"CMD_TLBI_NH_VA, another page", va_other_page, false},
    {"CMD_TLBI_NH_VAA", vaa, true},
    {"CMD_TLBI_NH_ASID", asid, true},
    {"CMD_TLBI_NH_ASID, another ASID", other_asid, false},
    {"CMD_TLBI_NH_ALL", nh_all, true},
    {"CMD_TLBI_NSNH_ALL", nsnh_all, true},
    {"CMD_CFGI_STE", cfgi_ste, false},
};

static void test_invalidation(const struct invalidation *invalidation)
{
    uint64_t mapped = PAGE_PA | PTE_READ_WRITE | PTE_TABLE | PTE_VALID;

    test_section("Unmap a page, then %s", invalidation->name);
    set(page(), mapped);
    check_dma_lands(&rig, PAGE_IOVA, PAGE_PA, "mapped");
    set(page(), 0);
    check_dma_lands(&rig, PAGE_IOVA, PAGE_PA, "unmapped, nothing invalidated");
    check(issue(invalidation->command()), "%s and CMD_SYNC", invalidation->name);
    if (invalidation->removes)
        check_dma_faults(&rig, PAGE_IOVA, EVENT_F_TRANSLATION, "after it");
    else
        check_dma_lands(&rig, PAGE_IOVA, PAGE_PA, "after it, still there");
    issue(smmu_cmd_tlbi(CMD_TLBI_NSNH_ALL));
}

static void test_fault_is_not_cached(void)
{
    test_section("Map what faulted before: no invalidation is needed");
    check_dma_faults(&rig, FAR_IOVA, EVENT_F_TRANSLATION, "not mapped");
    pagetable_map(&table, FAR_IOVA, PAGE_PA, 3, PTE_READ_WRITE);
    check_dma_lands(&rig, FAR_IOVA, PAGE_PA, "mapped");
}

static void test_remap(void)
{
    uint64_t attributes = PTE_READ_WRITE | PTE_TABLE | PTE_VALID;

    test_section("Move a page: break, invalidate, make");
    set(page(), PAGE_PA | attributes);
    check_dma_lands(&rig, PAGE_IOVA, PAGE_PA, "at its first place");
    set(page(), 0);
    check(issue(va()), "the descriptor is invalid, and CMD_TLBI_NH_VA");
    set(page(), OTHER_PA | attributes);
    check_dma_lands(&rig, PAGE_IOVA, OTHER_PA, "at its second place");
    set(page(), 0);
    issue(va());
}

static void test_block(void)
{
    uint64_t attributes = PTE_READ_WRITE | PTE_VALID;

    test_section("Unmap a 2M block");
    set(block(), BLOCK_PA | attributes);
    check_dma_lands(&rig, BLOCK_IOVA, BLOCK_PA, "mapped");
    set(block(), 0);
    check_dma_lands(&rig, BLOCK_IOVA, BLOCK_PA, "unmapped, nothing invalidated");
    check(issue(smmu_cmd_tlbi_va(ASID, BLOCK_IOVA + BLOCK_ALIAS, true)),
          "CMD_TLBI_NH_VA of an address inside the block");
    check_dma_faults(&rig, BLOCK_IOVA, EVENT_F_TRANSLATION, "after it");
    check_dma_faults(&rig, BLOCK_IOVA + BLOCK_ALIAS, EVENT_F_TRANSLATION, "after it");
}

/* Only the doubleword with Config changes, so that the STE is valid before and after. */
static void test_configuration(void)
{
    volatile struct ste *ste = smmu_ste_of(&rig.smmu, rig.sid);
    uint64_t translate = ste->dw[0];
    uint64_t abort = STE0_V | field_put(STE0_CONFIG, STE_CONFIG_ABORT);

    test_section("Change an STE, with and without CMD_CFGI_STE");
    set(page(), PAGE_PA | PTE_READ_WRITE | PTE_TABLE | PTE_VALID);
    check_dma_lands(&rig, PAGE_IOVA, PAGE_PA, "Config translates");
    ste->dw[0] = abort;
    dma_write_barrier();
    check_dma_lands(&rig, PAGE_IOVA, PAGE_PA, "Config aborts, nothing invalidated");
    check(issue(cfgi_ste()), "CMD_CFGI_STE and CMD_SYNC");
    check_dma_aborts_silently(&rig, PAGE_IOVA, "after it");
    ste->dw[0] = translate;
    dma_write_barrier();
    check(issue(cfgi_ste()), "Config translates again, CMD_CFGI_STE and CMD_SYNC");
    check_dma_lands(&rig, PAGE_IOVA, PAGE_PA, "after it");
}

/* The other table has the same page elsewhere, and the other ASID, so no TLB entry is shared. */
static void test_context(volatile struct cd *cd)
{
    struct pagetable other;
    struct cd changed;

    test_section("Change a Context descriptor, with and without CMD_CFGI_CD");
    pagetable_init(&other, 12, 39, false);
    pagetable_map(&other, PAGE_IOVA, OTHER_PA, 3, PTE_READ_WRITE);
    changed = smmu_cd_make(OTHER_ASID, &other, NULL);
    check_dma_lands(&rig, PAGE_IOVA, PAGE_PA, "the first table");
    smmu_cd_write(cd, &changed);
    check_dma_lands(&rig, PAGE_IOVA, PAGE_PA, "the second, nothing invalidated");
    check(issue(smmu_cmd_cfgi_cd(rig.sid, true)), "CMD_CFGI_CD and CMD_SYNC");
    check_dma_lands(&rig, PAGE_IOVA, OTHER_PA, "after it");
}

int main(void)
{
    volatile struct cd *cd;

    test_begin("unmap_tlbi: what stays in use until it is invalidated");
    if (!rig_start(&rig, &RIG_CONFIG_DEFAULT))
        return test_end();
    pagetable_init(&table, 12, 39, false);
    cd = rig_attach(&rig, ASID, &table, NULL);

    for (unsigned i = 0; i < ARRAY_COUNT(invalidations); i++)
        test_invalidation(&invalidations[i]);
    test_fault_is_not_cached();
    test_remap();
    test_block();
    test_configuration();
    test_context(cd);
    return test_end();
}
