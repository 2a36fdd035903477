/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every class of fault that stage 1 has, with its event record (Arm IHI 0070, 7.3).
 *
 * A record is checked in every field that the architecture defines for its type. Where an SMMU is
 * known to record another value the check takes both and the value is not printed; the comment at
 * the place says which.
 */
#include "board.h"
#include "console.h"
#include "mmio.h"
#include "rig.h"

#define ASID 1

static struct rig rig;
static struct pagetable table; /* 4K granule, 48 bits: walks have levels 0 to 3 */
static volatile struct cd *cd;

/* Fields of doubleword 1 that a fault of a translation has; STAG has no meaning without Stall. */
#define ACCESS_FIELDS \
    (EVENT1_STALL | EVENT1_PNU | EVENT1_IND | EVENT1_RNW | EVENT1_S2 | EVENT1_CLASS)

/* SSV is 0, and the SubstreamID then has no meaning. */
static bool header_is(const struct smmu_event *event, unsigned type)
{
    return (event->dw[0] & ~EVENT0_SUBSTREAMID) ==
           (field_put(EVENT0_TYPE, type) | field_put(EVENT0_STREAMID, rig.sid));
}

/* The device writes data without a PASID: an unprivileged data write (13.7). */
static bool access_is(const struct smmu_event *event, uint64_t iova, unsigned class)
{
    return (event->dw[1] & ACCESS_FIELDS) == field_put(EVENT1_CLASS, class) &&
           event->dw[2] == iova;
}

static void report(bool good, const struct smmu_event *event, const char *what)
{
    check(good, "%s", what);
    printf("      ");
    smmu_event_print(event);
}

/* A fault of the input address itself. */
static void expect_fault(const char *what, uint64_t iova, unsigned type)
{
    struct smmu_event event = {0};
    bool good = dma_refused(&rig, iova, DMA_BASE, type, &event);

    report(good && header_is(&event, type) && access_is(&event, iova, EVENT_CLASS_IN), &event,
           what);
}

/* A fault of the configuration: the record has the stream and nothing else. */
static void expect_bad_configuration(const char *what, unsigned type)
{
    struct smmu_event event = {0};
    bool good = dma_refused(&rig, DMA_BASE, DMA_BASE, type, &event);

    report(good && header_is(&event, type), &event, what);
}

static void expect_walk_abort(const char *what, uint64_t iova, uint64_t fetched)
{
    struct smmu_event event = {0};
    bool good = dma_refused(&rig, iova, DMA_BASE, EVENT_F_WALK_EABT, &event);

    report(good && header_is(&event, EVENT_F_WALK_EABT) &&
               access_is(&event, iova, EVENT_CLASS_TTD) &&
               (event.dw[3] & EVENT3_ADDRESS) == fetched,
           &event, what);
}

/* Puts another Context descriptor in place, and forgets the old one and what came of it. */
static void use_cd(struct cd changed)
{
    smmu_cd_write(cd, &changed);
    smmu_issue_sync(&rig.smmu, smmu_cmd_cfgi_cd(rig.sid, true));
    smmu_issue_sync(&rig.smmu, smmu_cmd_tlbi(CMD_TLBI_NH_ALL));
}

static struct cd normal_cd(void)
{
    return smmu_cd_make(ASID, &table, NULL);
}

static struct cd with_bits(struct cd base, uint64_t clear, uint64_t set)
{
    base.dw[0] = (base.dw[0] & ~clear) | set;
    return base;
}

static void test_translation(void)
{
    test_section("F_TRANSLATION");
    expect_fault("no table at level 0", 0x008000001000, EVENT_F_TRANSLATION);
    pagetable_descriptor(&table, 0x010000000000, 1);
    expect_fault("no table at level 1", 0x010000001000, EVENT_F_TRANSLATION);
    pagetable_descriptor(&table, 0x020000000000, 2);
    expect_fault("no table at level 2", 0x020000001000, EVENT_F_TRANSLATION);
    pagetable_descriptor(&table, 0x030000000000, 3);
    expect_fault("no page at level 3", 0x030000001000, EVENT_F_TRANSLATION);

    /* Bits [1:0] = 1 mean a block, and level 3 has none. */
    pagetable_map(&table, 0x030000002000, DMA_BASE, 3, PTE_READ_WRITE);
    *pagetable_descriptor(&table, 0x030000002000, 3) &= ~PTE_TABLE;
    expect_fault("reserved descriptor at level 3", 0x030000002abc, EVENT_F_TRANSLATION);
    expect_fault("above the range of TTB0", 0x0001000000001000, EVENT_F_TRANSLATION);
    expect_fault("in the range of TTB1, which EPD1 disables", 0xffff000000001000,
                 EVENT_F_TRANSLATION);
}

static void test_address_size(void)
{
    test_section("F_ADDR_SIZE");
    pagetable_map(&table, 0x40000000, BIT(32) + DMA_BASE, 3, PTE_READ_WRITE);
    pagetable_map(&table, 0x40200000, BIT(39), 2, PTE_READ_WRITE);
    use_cd(with_bits(normal_cd(), CD0_IPS, field_put(CD0_IPS, CD_IPS_32)));
    expect_fault("a page above 32 bits, with IPS = 32 bits", 0x40000010, EVENT_F_ADDR_SIZE);
    expect_fault("a block above 32 bits, with IPS = 32 bits", 0x40345678, EVENT_F_ADDR_SIZE);
    use_cd(normal_cd());
}

static void test_access_flag(void)
{
    test_section("F_ACCESS");
    pagetable_map(&table, 0x50000000, DMA_BASE, 3, PTE_READ_WRITE & ~PTE_AF);
    expect_fault("a page with AF = 0", 0x50000020, EVENT_F_ACCESS);
    use_cd(with_bits(normal_cd(), 0, CD0_AFFD));
    check_dma_lands(&rig, 0x50000020, DMA_BASE + 0x20, "the same page, with CD.AFFD = 1");
    use_cd(normal_cd());
}

static void test_permission(void)
{
    volatile uint64_t *directory;

    test_section("F_PERMISSION");
    pagetable_map(&table, 0x60000000, DMA_BASE, 3, PTE_READ_ONLY);
    expect_fault("a write to a read-only page", 0x60000030, EVENT_F_PERMISSION);
    pagetable_map(&table, 0x60200000, DMA_BASE, 2, PTE_READ_ONLY);
    expect_fault("a write to a read-only block", 0x60200030, EVENT_F_PERMISSION);

    pagetable_map(&table, 0x60400000, DMA_BASE, 3, PTE_READ_WRITE);
    directory = pagetable_descriptor(&table, 0x60400000, 2);
    *directory |= BIT(62); /* APTable[1]: nothing below may be written */
    expect_fault("a write below a table with APTable = read-only", 0x60400030,
                 EVENT_F_PERMISSION);
}

static void test_walk_abort(void)
{
    struct cd nowhere = normal_cd();

    test_section("F_WALK_EABT");
    *pagetable_descriptor(&table, 0x70000000, 2) = NOWHERE_BASE | PTE_TABLE | PTE_VALID;
    dma_write_barrier();
    expect_walk_abort("the level 3 table is nowhere", 0x70005abc, NOWHERE_BASE + 5 * 8);
    *pagetable_descriptor(&table, 0x80000000, 1) = (NOWHERE_BASE + 0x1000) | PTE_TABLE | PTE_VALID;
    dma_write_barrier();
    expect_walk_abort("the level 2 table is nowhere", 0x80600000, NOWHERE_BASE + 0x1000 + 3 * 8);
    nowhere.dw[1] = NOWHERE_BASE + 0x2000;
    use_cd(nowhere);
    expect_walk_abort("TTB0 leads nowhere", 0x018000000000, NOWHERE_BASE + 0x2000 + 3 * 8);
    use_cd(normal_cd());
}

static void test_cd(void)
{
    test_section("C_BAD_CD");
    use_cd(with_bits(normal_cd(), CD0_V, 0));
    expect_bad_configuration("V = 0", EVENT_C_BAD_CD);
    use_cd(with_bits(normal_cd(), CD0_AA64, 0));
    expect_bad_configuration("AA64 = 0, where IDR0.TTF has no AArch32", EVENT_C_BAD_CD);
    use_cd(with_bits(normal_cd(), CD0_A, 0));
    expect_bad_configuration("A = 0, where IDR0.TERM_MODEL = 1", EVENT_C_BAD_CD);
    use_cd(normal_cd());
}

/* The address is in doubleword 3; QEMU puts it in doubleword 2. */
static void test_cd_fetch(void)
{
    uint64_t address = NOWHERE_BASE + 0x3000;
    struct ste nowhere = smmu_ste_make_s1((volatile struct cd *)address);
    struct smmu_event event = {0};

    test_section("F_CD_FETCH");
    smmu_stream_attach(&rig.smmu, rig.sid, &nowhere);
    bool good = dma_refused(&rig, DMA_BASE, DMA_BASE, EVENT_F_CD_FETCH, &event);
    check(good && header_is(&event, EVENT_F_CD_FETCH) &&
              ((event.dw[3] & EVENT3_ADDRESS) == address || event.dw[2] == address),
          "the Context descriptor is nowhere");
    printf("      %s stream 0x%x\n", smmu_event_name(smmu_event_type(&event)), rig.sid);
}

static void test_ste(void)
{
    struct ste translate = smmu_ste_make_s1(cd);
    struct ste changed;

    test_section("C_BAD_STE");
    changed = translate;
    changed.dw[0] &= ~STE0_V;
    smmu_stream_attach(&rig.smmu, rig.sid, &changed);
    expect_bad_configuration("V = 0", EVENT_C_BAD_STE);
    changed = translate;
    changed.dw[1] |= STE1_S1STALLD;
    smmu_stream_attach(&rig.smmu, rig.sid, &changed);
    expect_bad_configuration("S1STALLD = 1, where IDR0.STALL_MODEL has no stalls",
                             EVENT_C_BAD_STE);
    smmu_stream_attach(&rig.smmu, rig.sid, &translate);
}

/* Moves the Stream table, or tells another size; what was cached of it is gone after. */
static void move_stream_table(uint64_t address, unsigned sid_lg2)
{
    smmu_cr0_clear(&rig.smmu, CR0_SMMUEN);
    rig.smmu.config.sid_lg2 = sid_lg2;
    smmu_strtab_install(&rig.smmu, address);
    smmu_issue_sync(&rig.smmu, smmu_cmd_cfgi_all());
    smmu_cr0_set(&rig.smmu, CR0_SMMUEN);
}

static void test_stream_table(void)
{
    uint64_t address = (uintptr_t)rig.smmu.strtab;
    unsigned sid_lg2 = rig.smmu.config.sid_lg2;
    struct smmu_event event = {0};

    test_section("F_STE_FETCH and C_BAD_STREAMID");
    move_stream_table(NOWHERE_BASE, sid_lg2);
    bool good = dma_refused(&rig, DMA_BASE, DMA_BASE, EVENT_F_STE_FETCH, &event);
    report(good && header_is(&event, EVENT_F_STE_FETCH) &&
               (event.dw[3] & EVENT3_ADDRESS) == NOWHERE_BASE + rig.sid * sizeof(struct ste),
           &event, "the Stream table is nowhere");
    move_stream_table(address, 3);
    expect_bad_configuration("the Stream table ends before StreamID 8", EVENT_C_BAD_STREAMID);
    move_stream_table(address, sid_lg2);
}

static void test_silent(void)
{
    struct ste abort = smmu_ste_make_abort();
    struct ste translate = smmu_ste_make_s1(cd);

    test_section("Refused without a record");
    smmu_stream_attach(&rig.smmu, rig.sid, &abort);
    check_dma_aborts_silently(&rig, DMA_BASE, "STE.Config = abort");
    smmu_stream_attach(&rig.smmu, rig.sid, &translate);
    use_cd(with_bits(normal_cd(), CD0_R, 0));
    check_dma_aborts_silently(&rig, 0x030000001000, "F_TRANSLATION, with CD.R = 0");
    check_dma_aborts_silently(&rig, 0x60000030, "F_PERMISSION, with CD.R = 0");
    use_cd(normal_cd());
    smmu_cr0_clear(&rig.smmu, CR0_SMMUEN);
    smmu_gbpa_set_abort(&rig.smmu, true);
    check_dma_aborts_silently(&rig, DMA_BASE, "SMMUEN = 0, GBPA.ABORT = 1");
}

static void test_untranslated(void)
{
    struct ste bypass = smmu_ste_make_bypass();

    test_section("Passed without translation");
    smmu_gbpa_set_abort(&rig.smmu, false);
    check_dma_lands(&rig, DMA_BASE + 0x100, DMA_BASE + 0x100, "SMMUEN = 0, GBPA.ABORT = 0");
    smmu_cr0_set(&rig.smmu, CR0_SMMUEN);
    smmu_stream_attach(&rig.smmu, rig.sid, &bypass);
    check_dma_lands(&rig, DMA_BASE + 0x200, DMA_BASE + 0x200, "STE.Config = bypass");
}

int main(void)
{
    test_begin("faults: every class of stage 1 fault and its record");
    if (!rig_start(&rig, &RIG_CONFIG_DEFAULT))
        return test_end();
    pagetable_init(&table, 12, 48, false);
    cd = rig_attach(&rig, ASID, &table, NULL);

    test_translation();
    test_address_size();
    test_access_flag();
    test_permission();
    test_walk_abort();
    test_cd();
    test_cd_fetch();
    test_ste();
    test_stream_table();
    test_silent();
    test_untranslated();
    return test_end();
}
