/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hardware update of translation tables (Arm IHI 0070, 3.13): the access flag, and the dirty state
 * of writable pages. The last test is what a driver does for live migration: it collects dirty
 * pages, makes them clean again, and invalidates, or it would miss the next write.
 */
#include "board.h"
#include "console.h"
#include "engine_rig.h"
#include "mmio.h"

#define ASID 3
#define VMID 9
#define PA (DMA_BASE + 0x3000)
#define IOVA(n) (0x20300000ul + 0x1000ul * (n))
#define BLOCK_IOVA 0x40000000ul

#define PTE_CLEAN (PTE_READ_ONLY | PTE_DBM) /* writable, and not written yet */

static struct engine_rig rig;
static struct pagetable table;
static volatile struct cd *cd;

static void issue(struct smmu_command command)
{
    smmu_issue_sync(&rig.smmu, command);
}

static void use_cd_bits(uint64_t set)
{
    struct cd changed = smmu_cd_make(ASID, &table, NULL);

    changed.dw[0] |= set;
    smmu_cd_write(cd, &changed);
    issue(smmu_cmd_cfgi_cd(rig.sid, true));
    issue(smmu_cmd_tlbi(CMD_TLBI_NSNH_ALL));
}

static volatile uint64_t *page(unsigned n)
{
    return pagetable_descriptor(&table, IOVA(n), 3);
}

static void check_flags(const volatile uint64_t *descriptor, bool accessed, bool dirty,
                        const char *what)
{
    dsb();
    uint64_t found = *descriptor;

    check(!!(found & PTE_AF) == accessed && !(found & PTE_AP_READ_ONLY) == dirty,
          "%s: %s, %s", what, found & PTE_AF ? "accessed" : "not accessed",
          found & PTE_AP_READ_ONLY ? "clean" : "dirty");
}

static void test_access_flag(void)
{
    test_section("The access flag, CD.HA = 1");
    use_cd_bits(CD0_HA);
    pagetable_map(&table, IOVA(0), PA, 3, PTE_READ_WRITE & ~PTE_AF);
    pagetable_map(&table, IOVA(1), PA, 3, PTE_READ_WRITE & ~PTE_AF);
    pagetable_map(&table, IOVA(2), PA, 3, PTE_READ_ONLY & ~PTE_AF);
    pagetable_map(&table, BLOCK_IOVA, DMA_BASE, 2, PTE_READ_WRITE & ~PTE_AF);
    check_engine_reads(&rig, 0, IOVA(0), PA, "a page");
    check_flags(page(0), true, true, "the page that was read");
    check_flags(page(1), false, true, "its neighbour");
    check_engine_writes(&rig, 0, BLOCK_IOVA + 0x3000, PA, "a block");
    check_flags(pagetable_descriptor(&table, BLOCK_IOVA, 2), true, true, "the block");
    check_engine_write_refused(&rig, 0, IOVA(2), EVENT_F_PERMISSION, "a read-only page");
    printf("  the flag of a page whose access is refused may be set or not\n");

    use_cd_bits(0);
    check_engine_read_refused(&rig, 0, IOVA(1), EVENT_F_ACCESS, "CD.HA = 0");
    check_flags(page(1), false, true, "the page that was refused");
}

static void test_dirty(void)
{
    test_section("The dirty state, CD.HA = CD.HD = 1");
    use_cd_bits(CD0_HA | CD0_HD);
    pagetable_map(&table, IOVA(8), PA, 3, PTE_CLEAN & ~PTE_AF);
    pagetable_map(&table, IOVA(9), PA, 3, PTE_READ_ONLY);
    pagetable_map(&table, BLOCK_IOVA, DMA_BASE, 2, PTE_CLEAN);
    issue(smmu_cmd_tlbi(CMD_TLBI_NSNH_ALL));
    check_engine_reads(&rig, 0, IOVA(8), PA, "a clean page");
    check_flags(page(8), true, false, "after a read");
    check_engine_writes(&rig, 0, IOVA(8), PA, "a clean page that is cached");
    check_flags(page(8), true, true, "after a write");
    check_engine_write_refused(&rig, 0, IOVA(9), EVENT_F_PERMISSION, "read-only, without DBM");
    check_flags(page(9), true, false, "it");
    check_engine_writes(&rig, 0, BLOCK_IOVA + 0x3000, PA, "a clean block");
    check_flags(pagetable_descriptor(&table, BLOCK_IOVA, 2), true, true, "the block");

    use_cd_bits(CD0_HA);
    *page(8) |= PTE_AP_READ_ONLY;
    dma_write_barrier();
    check_engine_write_refused(&rig, 0, IOVA(8), EVENT_F_PERMISSION, "a clean page, CD.HD = 0");
    check_flags(page(8), true, false, "it");
}

/* A table above that forbids writes is stronger than DBM. */
static void test_table_forbids(void)
{
    volatile uint64_t *directory = pagetable_descriptor(&table, 0x60000000, 2);

    test_section("A clean page below a table that forbids writes");
    use_cd_bits(CD0_HA | CD0_HD);
    pagetable_map(&table, 0x60000000, PA, 3, PTE_CLEAN);
    *directory |= BIT(62); /* APTable[1] */
    dma_write_barrier();
    check_engine_write_refused(&rig, 0, 0x60000000, EVENT_F_PERMISSION, "a write");
    check_flags(pagetable_descriptor(&table, 0x60000000, 3), true, false, "the page");
}

#define TRACKED 8

/* Which pages are dirty; they are clean afterwards. */
static unsigned read_and_clear(void)
{
    unsigned dirty = 0;

    for (unsigned i = 0; i < TRACKED; i++) {
        volatile uint64_t *descriptor = page(16 + i);

        if (*descriptor & PTE_DBM && !(*descriptor & PTE_AP_READ_ONLY)) {
            dirty |= 1u << i;
            *descriptor |= PTE_AP_READ_ONLY;
        }
    }
    dma_write_barrier();
    return dirty;
}

static void write_to(unsigned pages)
{
    for (unsigned i = 0; i < TRACKED; i++) {
        struct engine_request request = {ENGINE_FILL, 0, 8, 0, IOVA(16 + i), pages};

        if (pages & 1u << i && engine_rig_run(&rig, 0, &request) != ENGINE_STATE_DONE)
            check(false, "page %u is writable", i);
    }
}

static void check_dirty(unsigned expected, const char *what)
{
    unsigned found = read_and_clear();

    check(found == expected, "%s: pages 0x%02x are dirty", what, found);
}

static void test_tracking(void)
{
    test_section("Dirty pages, collected and made clean again");
    for (unsigned i = 0; i < TRACKED; i++)
        pagetable_map(&table, IOVA(16 + i), PA + 0x1000 * i, 3, PTE_CLEAN);
    use_cd_bits(CD0_HA | CD0_HD);
    check_dirty(0, "before");
    write_to(0x25);
    check_dirty(0x25, "after writes to 0x25");
    issue(smmu_cmd_tlbi_asid(ASID));
    write_to(0x24);
    check_dirty(0x24, "cleared and invalidated, after writes to 0x24");
    write_to(0x24);
    check_dirty(0, "cleared and not invalidated, after writes to 0x24: they are missed");
    issue(smmu_cmd_tlbi_asid(ASID));
    write_to(0x81);
    check_dirty(0x81, "invalidated again, after writes to 0x81");
}

static void test_stage2(void)
{
    struct pagetable stage2;
    struct ste ste;
    uint64_t descriptors = (uintptr_t)rig.descriptors;

    test_section("Stage 2, STE.S2HA = STE.S2HD = 1");
    pagetable_init_stage2(&stage2, 12, 40);
    pagetable_map(&stage2, descriptors, descriptors, 3, PTE_S2_READ_WRITE);
    pagetable_map(&stage2, IOVA(0), PA, 3, (PTE_S2_READ_ONLY | PTE_DBM) & ~PTE_AF);
    ste = smmu_ste_make_s2(VMID, &stage2);
    ste.dw[2] |= STE2_S2HA | STE2_S2HD;
    smmu_stream_attach(&rig.smmu, rig.sid, &ste);
    issue(smmu_cmd_tlbi(CMD_TLBI_NSNH_ALL));

    volatile uint64_t *descriptor = pagetable_descriptor(&stage2, IOVA(0), 3);
    check_engine_reads(&rig, 0, IOVA(0), PA, "a clean page");
    check(*descriptor & PTE_AF && !(*descriptor & PTE_S2_WRITE), "accessed, clean");
    check_engine_writes(&rig, 0, IOVA(0), PA, "a clean page that is cached");
    check(*descriptor & PTE_AF && *descriptor & PTE_S2_WRITE, "accessed, dirty");
}

int main(void)
{
    struct smmu_config config = {.sid_lg2 = 6, .cmdq_lg2 = 5, .evtq_lg2 = 5};
    struct ste ste;

    test_begin("httu: access flags and dirty state, updated by hardware");
    if (!engine_rig_find(&rig))
        return test_absent("the DMA engine, and an SMMU with stage 1");
    if (field_get(IDR0_HTTU, rig.smmu.idr0) < IDR0_HTTU_DIRTY || !(rig.smmu.idr0 & IDR0_S2P))
        return test_absent("hardware update, and both stages (SMMU_IDR0.HTTU, S1P, S2P)");
    if (!engine_rig_start(&rig, &config))
        return test_end();
    pagetable_init(&table, 12, 39, false);
    engine_rig_map(&rig, &table);
    cd = smmu_cd_alloc();
    use_cd_bits(0);
    ste = smmu_ste_make_s1(cd);
    smmu_stream_attach(&rig.smmu, rig.sid, &ste);

    test_access_flag();
    test_dirty();
    test_table_forbids();
    test_tracking();
    test_stage2();
    return test_end();
}
