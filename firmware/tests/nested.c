/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stage 2 alone, and below a stage 1 whose tables and Context descriptor have intermediate
 * addresses (Arm IHI 0070, 3.3.2, 3.12 and 5.2).
 *
 * The guest's memory, from GUEST_BASE on, is the pool's and the DMA targets' moved up by a fixed
 * distance; what belongs to the guest is known to the SMMU by guest addresses alone.
 */
#include "board.h"
#include "console.h"
#include "mmio.h"
#include "rig.h"

#define VMID 7
#define OTHER_VMID 8
#define ASID 3

#define GUEST_OFFSET 0x100000000ul /* what the guest calls x + GUEST_OFFSET is at x */
#define GUEST(pa) ((pa) + GUEST_OFFSET)

#define IOVA 0x20300000ul
#define PAGE_PA (DMA_BASE + 0x3000)
#define OTHER_PA (DMA_BASE + 0x7000)

static struct rig rig;

static void issue(struct smmu_command command)
{
    smmu_issue_sync(&rig.smmu, command);
}

/*
 * Refused by stage 2: the record has S2, the class, and the intermediate address, of which QEMU
 * tells bits [11:0], too. QEMU leaves S2 at 0 when a table of stage 1 is refused.
 */
static void check_stage2_fault(uint64_t iova, unsigned type, unsigned class, uint64_t ipa,
                               const char *what)
{
    struct smmu_event event = {0};
    bool good = dma_refused(&rig, iova, DMA_BASE, type, &event);
    bool stage2 = event.dw[1] & EVENT1_S2 || class == EVENT_CLASS_TTD;

    good = good && stage2 && field_get(EVENT1_CLASS, event.dw[1]) == class &&
           (event.dw[3] & ~0xffful) == (ipa & ~0xffful);
    check(good, "%s", what);
    printf("      %s iova 0x%lx ipa 0x%lx\n", smmu_event_name(smmu_event_type(&event)),
           event.dw[2], event.dw[3] & ~0xffful);
}

/* -- stage 2 alone */

static const struct geometry {
    unsigned granule_lg2;
    unsigned ipa_bits;
    unsigned leaf_level;
    uint32_t idr5;
} geometries[] = {
    {12, 30, 3, IDR5_GRAN4K},  {12, 39, 3, IDR5_GRAN4K},  {12, 39, 2, IDR5_GRAN4K},
    {14, 36, 3, IDR5_GRAN16K}, {14, 36, 2, IDR5_GRAN16K}, {16, 36, 3, IDR5_GRAN64K},
    {16, 42, 2, IDR5_GRAN64K},
};

/* Up to 16 start tables side by side. */
static const struct geometry concatenated[] = {
    {12, 32, 3, IDR5_GRAN4K},  {12, 40, 3, IDR5_GRAN4K},  {12, 43, 2, IDR5_GRAN4K},
    {14, 40, 2, IDR5_GRAN16K}, {16, 43, 2, IDR5_GRAN64K},
};

/* The first leaf is left out, the second and the last are mapped. */
static void attach_geometry(const struct geometry *geometry, struct pagetable *stage2)
{
    struct ste ste;

    pagetable_init_stage2(stage2, geometry->granule_lg2, geometry->ipa_bits);

    uint64_t size = pagetable_leaf_size(stage2, geometry->leaf_level);
    uint64_t pa = DMA_BASE & -size;

    pagetable_map(stage2, size, pa, geometry->leaf_level, PTE_S2_READ_WRITE);
    pagetable_map(stage2, BIT(geometry->ipa_bits) - size, pa, geometry->leaf_level,
                  PTE_S2_READ_WRITE);
    ste = smmu_ste_make_s2(VMID, stage2);
    smmu_stream_attach(&rig.smmu, rig.sid, &ste);
    issue(smmu_cmd_tlbi_vmid(CMD_TLBI_S12_VMALL, VMID));
}

static void test_geometry(const struct geometry *geometry, bool all)
{
    struct pagetable stage2;

    test_section("Stage 2 alone: granule of %uK, %u bits, leaves of level %u",
                 1u << (geometry->granule_lg2 - 10), geometry->ipa_bits, geometry->leaf_level);
    if (!(rig.smmu.idr5 & geometry->idr5)) {
        printf("  not implemented by this SMMU\n");
        return;
    }
    attach_geometry(geometry, &stage2);

    uint64_t size = pagetable_leaf_size(&stage2, geometry->leaf_level);
    uint64_t highest = BIT(geometry->ipa_bits) - size;
    uint64_t pa = DMA_BASE & -size;
    uint64_t inside = (DMA_BASE + 0x4560 - pa) & (size - 1);

    printf("  walks start at level %u\n", stage2.start_level);
    check_dma_lands(&rig, size + inside, pa + inside, "mapped low");
    if (all)
        check_dma_lands(&rig, highest + inside, pa + inside, "mapped at the top");
    else
        printf("  the last of the start tables side by side is %s\n",
               testdev_dma(&rig.dev, highest + inside, pa + inside, 4) == TESTDEV_OK
                   ? "used"
                   : "not used, against the architecture");
    while (smmu_event_pop(&rig.smmu, &(struct smmu_event){0})) {
    }
    check_stage2_fault(0x10, EVENT_F_TRANSLATION, EVENT_CLASS_IN, 0, "nothing is mapped at 0");
    check_stage2_fault(BIT(geometry->ipa_bits), EVENT_F_TRANSLATION, EVENT_CLASS_IN,
                       BIT(geometry->ipa_bits), "just above the range of S2T0SZ");
}

static void test_permissions(void)
{
    struct pagetable stage2;
    struct ste ste;

    test_section("Stage 2 alone: permissions, access flag, invalidation");
    pagetable_init_stage2(&stage2, 12, 40);
    pagetable_map(&stage2, 0x1000, PAGE_PA, 3, PTE_S2_READ_ONLY);
    pagetable_map(&stage2, 0x2000, PAGE_PA, 3, PTE_S2_READ_WRITE & ~PTE_AF);
    pagetable_map(&stage2, 0x3000, PAGE_PA, 3, PTE_S2_READ_WRITE);
    ste = smmu_ste_make_s2(VMID, &stage2);
    smmu_stream_attach(&rig.smmu, rig.sid, &ste);
    issue(smmu_cmd_tlbi_vmid(CMD_TLBI_S12_VMALL, VMID));
    check_stage2_fault(0x1008, EVENT_F_PERMISSION, EVENT_CLASS_IN, 0x1000, "S2AP is read-only");
    check_stage2_fault(0x2008, EVENT_F_ACCESS, EVENT_CLASS_IN, 0x2000, "the access flag is 0");

    check_dma_lands(&rig, 0x3000, PAGE_PA, "mapped");
    *pagetable_descriptor(&stage2, 0x3000, 3) = 0;
    dma_write_barrier();
    check_dma_lands(&rig, 0x3000, PAGE_PA, "unmapped, nothing invalidated");
    issue(smmu_cmd_tlbi_ipa(OTHER_VMID, 0x3000, true));
    check_dma_lands(&rig, 0x3000, PAGE_PA, "CMD_TLBI_S2_IPA of another VMID");
    issue(smmu_cmd_tlbi_ipa(VMID, 0x2000, true));
    check_dma_lands(&rig, 0x3000, PAGE_PA, "CMD_TLBI_S2_IPA of another page");
    issue(smmu_cmd_tlbi_ipa(VMID, 0x3000, true));
    check_stage2_fault(0x3000, EVENT_F_TRANSLATION, EVENT_CLASS_IN, 0x3000, "CMD_TLBI_S2_IPA");
}

/* -- both stages */

static struct pagetable stage2;
static struct pagetable stage1;
static volatile struct cd *cd;

/* Rewrites what a table of the host's making says to guest addresses. */
static void to_guest_addresses(volatile uint64_t *entries, unsigned count, unsigned level)
{
    for (unsigned i = 0; i < count; i++) {
        if (!(entries[i] & PTE_VALID))
            continue;
        if (level < 3 && entries[i] & PTE_TABLE)
            to_guest_addresses((volatile uint64_t *)(entries[i] & PTE_ADDRESS), 512, level + 1);
        entries[i] += GUEST_OFFSET;
    }
}

/* Stage 1 maps IOVA by a page and the 2M after it by a block. */
static void make_guest(void)
{
    struct cd made;

    pagetable_init(&stage1, 12, 39, false);
    pagetable_map(&stage1, IOVA, PAGE_PA, 3, PTE_READ_WRITE);
    pagetable_map(&stage1, IOVA + 0x1000, PAGE_PA, 3, PTE_READ_ONLY);
    pagetable_map(&stage1, 0x40000000, DMA_BASE, 2, PTE_READ_WRITE);
    to_guest_addresses(stage1.root, 512, 1);

    cd = smmu_cd_alloc();
    made = smmu_cd_make(ASID, &stage1, NULL);
    made.dw[1] = GUEST(made.dw[1]);
    smmu_cd_write(cd, &made);
}

/* The pool by blocks, DMA targets by pages, but for one that is missing. */
static void make_host(void)
{
    pagetable_init_stage2(&stage2, 12, 40);
    for (uint64_t at = POOL_BASE; at < POOL_BASE + POOL_SIZE; at += 0x200000)
        pagetable_map(&stage2, GUEST(at), at, 2, PTE_S2_READ_WRITE);
    for (uint64_t at = DMA_BASE; at < DMA_BASE + 0x20000; at += 0x1000)
        pagetable_map(&stage2, GUEST(at), at, 3, PTE_S2_READ_WRITE);
    *pagetable_descriptor(&stage2, GUEST(DMA_BASE + 0x9000), 3) = 0;
    dma_write_barrier();
}

static void test_nested(void)
{
    struct ste ste;

    test_section("Both stages");
    make_guest();
    make_host();
    ste = smmu_ste_make_nested(GUEST((uintptr_t)cd), VMID, &stage2);
    smmu_stream_attach(&rig.smmu, rig.sid, &ste);
    issue(smmu_cmd_tlbi(CMD_TLBI_NSNH_ALL));
    check_dma_lands(&rig, IOVA + 0x40, PAGE_PA + 0x40, "a page of both");
    check_dma_lands(&rig, 0x40005678, DMA_BASE + 0x5678, "a block of stage 1 on pages of stage 2");
    check_dma_lands(&rig, 0x40006678, DMA_BASE + 0x6678, "and another of its pages");
    check_dma_faults(&rig, IOVA + 0x2000, EVENT_F_TRANSLATION, "not mapped by stage 1");
    check_dma_faults(&rig, IOVA + 0x1000, EVENT_F_PERMISSION, "read-only by stage 1");
    check_stage2_fault(0x40009678, EVENT_F_TRANSLATION, EVENT_CLASS_IN, GUEST(DMA_BASE + 0x9000),
                       "not mapped by stage 2");
}

static void set(volatile uint64_t *descriptor, uint64_t value)
{
    *descriptor = value;
    dma_write_barrier();
}

/* One stage changes; what each invalidation reaches. */
static void test_invalidation(void)
{
    volatile uint64_t *page1 = pagetable_descriptor(&stage2, GUEST(PAGE_PA), 3);
    uint64_t mapped = *page1;

    test_section("Both stages: stage 2 moves a page of the guest");
    check_dma_lands(&rig, IOVA, PAGE_PA, "at its first place");
    set(page1, OTHER_PA | (mapped & ~PTE_ADDRESS));
    check_dma_lands(&rig, IOVA, PAGE_PA, "moved, nothing invalidated");
    issue(smmu_cmd_tlbi_vmid(CMD_TLBI_S12_VMALL, OTHER_VMID));
    check_dma_lands(&rig, IOVA, PAGE_PA, "CMD_TLBI_S12_VMALL of another VMID");
    issue(smmu_cmd_tlbi_ipa(VMID, GUEST(PAGE_PA), true));
    issue(smmu_cmd_tlbi_vmid(CMD_TLBI_NH_ALL, VMID));
    check_dma_lands(&rig, IOVA, OTHER_PA, "CMD_TLBI_S2_IPA and CMD_TLBI_NH_ALL");
    set(page1, mapped);
    issue(smmu_cmd_tlbi_vmid(CMD_TLBI_S12_VMALL, VMID));
    check_dma_lands(&rig, IOVA, PAGE_PA, "moved back, and CMD_TLBI_S12_VMALL");
}

/* Stage 2 faults on the way: of a table of stage 1, and of the Context descriptor. */
static void test_faults_on_the_way(void)
{
    uint64_t table_at = stage1.root[IOVA >> 30] & PTE_ADDRESS;
    uint64_t cd_at = GUEST((uintptr_t)cd);
    struct ste ste;

    test_section("Both stages: stage 2 refuses what the SMMU itself reads");
    stage1.root[IOVA >> 30] = (table_at + BIT(38)) | PTE_TABLE | PTE_VALID;
    dma_write_barrier();
    issue(smmu_cmd_tlbi(CMD_TLBI_NSNH_ALL));
    check_stage2_fault(IOVA, EVENT_F_TRANSLATION, EVENT_CLASS_TTD, table_at + BIT(38),
                       "a table of stage 1 is not mapped by stage 2");
    stage1.root[IOVA >> 30] = table_at | PTE_TABLE | PTE_VALID;
    dma_write_barrier();
    check_dma_lands(&rig, IOVA, PAGE_PA, "repaired");

    ste = smmu_ste_make_nested(cd_at + BIT(38), VMID, &stage2);
    smmu_stream_attach(&rig.smmu, rig.sid, &ste);
    check_stage2_fault(IOVA, EVENT_F_TRANSLATION, EVENT_CLASS_CD, cd_at + BIT(38),
                       "the Context descriptor is not mapped by stage 2");
    ste = smmu_ste_make_nested(cd_at, VMID, &stage2);
    smmu_stream_attach(&rig.smmu, rig.sid, &ste);
    check_dma_lands(&rig, IOVA, PAGE_PA, "repaired");
}

int main(void)
{
    test_begin("nested: stage 2 alone, and both stages");
    if (!rig_start(&rig, &RIG_CONFIG_DEFAULT))
        return test_end();
    if (!(rig.smmu.idr0 & IDR0_S2P))
        return test_absent("stage 2 (SMMU_IDR0.S2P)");
    for (unsigned i = 0; i < ARRAY_COUNT(geometries); i++)
        test_geometry(&geometries[i], true);
    for (unsigned i = 0; i < ARRAY_COUNT(concatenated); i++)
        test_geometry(&concatenated[i], false);
    test_permissions();
    test_nested();
    test_invalidation();
    test_faults_on_the_way();
    return test_end();
}
