/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One stream, many address spaces: SubstreamIDs, as PCIe's PASIDs are (Arm IHI 0070, 3.9, 5.2 to
 * 5.4): tables of Context descriptors of one and two levels, transactions without SubstreamID, and
 * what each invalidation reaches.
 */
#include "board.h"
#include "console.h"
#include "engine_rig.h"
#include "mmio.h"

#define IOVA 0x20300000ul
#define PRIVILEGED_IOVA 0x20301000ul
#define PAGE_PA(ssid) (DMA_BASE + 0x1000 * (uint64_t)(1 + (ssid) % 64))
#define OTHER_PA (DMA_BASE + 0x80000)
#define ASID(ssid) ((uint16_t)(1 + (ssid) % 251)) /* fits 8 bits, too */

#define SSID_LG2 4

static struct engine_rig rig;

static void issue(struct smmu_command command)
{
    smmu_issue_sync(&rig.smmu, command);
}

/* An address space in which IOVA leads to a page; what is at PRIVILEGED_IOVA is not for users. */
static struct cd make_space(uint32_t ssid, uint64_t pa)
{
    struct pagetable table;

    pagetable_init(&table, 12, 39, false);
    engine_rig_map(&rig, &table);
    pagetable_map(&table, IOVA, pa, 3, PTE_READ_WRITE);
    pagetable_map(&table, PRIVILEGED_IOVA, pa, 3, PTE_READ_WRITE & ~PTE_AP_UNPRIVILEGED);
    return smmu_cd_make(ASID(ssid), &table, NULL);
}

static void add_space(struct smmu_cd_table *table, uint32_t ssid)
{
    struct cd cd = make_space(ssid, PAGE_PA(ssid));

    smmu_cd_write(smmu_cd_table_entry(table, ssid), &cd);
}

static void attach(const struct smmu_cd_table *table, unsigned dss)
{
    struct ste ste = smmu_ste_make_substreams(table, dss);

    if (!smmu_stream_attach(&rig.smmu, rig.sid, &ste))
        check(false, "the stream is attached");
    issue(smmu_cmd_tlbi(CMD_TLBI_NSNH_ALL));
}

static void test_linear(struct smmu_cd_table *table)
{
    test_section("A linear table of %u Context descriptors", 1u << SSID_LG2);
    smmu_cd_table_init(table, SSID_LG2, STE_S1FMT_LINEAR);
    add_space(table, 0);
    add_space(table, 1);
    add_space(table, 5);
    add_space(table, 15);
    attach(table, STE_S1DSS_SSID0);
    check_engine_writes(&rig, ENGINE_SUBSTREAM(1), IOVA, PAGE_PA(1), "substream 1");
    check_engine_writes(&rig, ENGINE_SUBSTREAM(5), IOVA, PAGE_PA(5), "substream 5");
    check_engine_reads(&rig, ENGINE_SUBSTREAM(15), IOVA, PAGE_PA(15), "substream 15");
    check_engine_writes(&rig, 0, IOVA, PAGE_PA(0), "no substream, S1DSS uses descriptor 0");
    check_engine_write_refused(&rig, ENGINE_SUBSTREAM(2), IOVA, EVENT_C_BAD_CD,
                               "substream 2, which has no descriptor");
    check_engine_write_refused(&rig, ENGINE_SUBSTREAM(16), IOVA, EVENT_C_BAD_SUBSTREAMID,
                               "substream 16, beyond the table");
    check_engine_write_refused(&rig, ENGINE_SUBSTREAM(0), IOVA, EVENT_F_STREAM_DISABLED,
                               "substream 0, which S1DSS has taken");
    check_engine_write_refused(&rig, ENGINE_SUBSTREAM(5), IOVA + 0x5000, EVENT_F_TRANSLATION,
                               "not mapped in substream 5");
}

static void test_privilege(void)
{
    test_section("Privileged and user accesses");
    check_engine_writes(&rig, ENGINE_SUBSTREAM(1) | ENGINE_PRIVILEGED, PRIVILEGED_IOVA, PAGE_PA(1),
                        "privileged, to a page that is not for users");
    check_engine_write_refused(&rig, ENGINE_SUBSTREAM(1), PRIVILEGED_IOVA, EVENT_F_PERMISSION,
                               "as a user");
    check_engine_read_refused(&rig, ENGINE_SUBSTREAM(1), PRIVILEGED_IOVA, EVENT_F_PERMISSION,
                              "as a user");
}

/* The engine fetches its descriptors in substream 1 while nothing else may. */
static void test_without_substream(struct smmu_cd_table *table)
{
    test_section("Transactions without SubstreamID");
    rig.table_access = ENGINE_SUBSTREAM(1);
    attach(table, STE_S1DSS_TERMINATE);
    check_engine_write_refused(&rig, 0, IOVA, EVENT_F_STREAM_DISABLED, "S1DSS terminates them");
    check_engine_writes(&rig, ENGINE_SUBSTREAM(0), IOVA, PAGE_PA(0), "substream 0 is one like all");
    attach(table, STE_S1DSS_BYPASS);
    check_engine_writes(&rig, 0, PAGE_PA(9), PAGE_PA(9), "S1DSS lets them bypass stage 1");
    check_engine_writes(&rig, ENGINE_SUBSTREAM(5), IOVA, PAGE_PA(5), "substream 5 all the same");
    rig.table_access = 0;
    attach(table, STE_S1DSS_SSID0);
}

/* The descriptor of one substream changes; others, and what the SMMU holds of it, do not. */
static void test_cfgi_cd(struct smmu_cd_table *table)
{
    struct cd changed = make_space(7, OTHER_PA);
    volatile struct cd *fifth = smmu_cd_table_entry(table, 5);
    struct cd old;

    for (unsigned i = 0; i < 8; i++)
        old.dw[i] = fifth->dw[i];
    test_section("CMD_CFGI_CD is about one substream");
    check_engine_writes(&rig, ENGINE_SUBSTREAM(5), IOVA, PAGE_PA(5), "substream 5");
    check_engine_writes(&rig, ENGINE_SUBSTREAM(1), IOVA, PAGE_PA(1), "substream 1");
    smmu_cd_write(fifth, &changed);
    check_engine_writes(&rig, ENGINE_SUBSTREAM(5), IOVA, PAGE_PA(5), "changed, nothing invalidated");
    issue(smmu_cmd_cfgi_cd_of(rig.sid, 1, true));
    check_engine_writes(&rig, ENGINE_SUBSTREAM(5), IOVA, PAGE_PA(5), "CMD_CFGI_CD of substream 1");
    issue(smmu_cmd_cfgi_cd_of(rig.sid, 5, true));
    check_engine_writes(&rig, ENGINE_SUBSTREAM(5), IOVA, OTHER_PA, "CMD_CFGI_CD of substream 5");
    smmu_cd_write(fifth, &old);
    issue((struct smmu_command){{
        field_put(CMD0_OPCODE, CMD_CFGI_CD_ALL) | field_put(CMD_CFGI0_STREAMID, rig.sid),
        0,
    }});
    check_engine_writes(&rig, ENGINE_SUBSTREAM(5), IOVA, PAGE_PA(5), "changed back, CMD_CFGI_CD_ALL");
}

/* A substream's pages are under its ASID. */
static void test_asids(struct smmu_cd_table *table)
{
    struct cd moved[2];
    static const uint32_t ssids[2] = {1, 5};

    test_section("CMD_TLBI_NH_ASID is about one substream's addresses");
    for (unsigned i = 0; i < 2; i++) {
        check_engine_writes(&rig, ENGINE_SUBSTREAM(ssids[i]), IOVA, PAGE_PA(ssids[i]), "before");
        moved[i] = make_space(ssids[i], OTHER_PA);
        smmu_cd_write(smmu_cd_table_entry(table, ssids[i]), &moved[i]);
        issue(smmu_cmd_cfgi_cd_of(rig.sid, ssids[i], true));
    }
    issue(smmu_cmd_tlbi_asid(ASID(5)));
    check_engine_writes(&rig, ENGINE_SUBSTREAM(5), IOVA, OTHER_PA, "substream 5 walks its new table");
    check_engine_writes(&rig, ENGINE_SUBSTREAM(1), IOVA, PAGE_PA(1), "substream 1 is still cached");
    issue(smmu_cmd_tlbi_asid(ASID(1)));
    check_engine_writes(&rig, ENGINE_SUBSTREAM(1), IOVA, OTHER_PA, "until its own turn");
}

static const struct two_levels {
    unsigned format;
    unsigned ssid_lg2;
    uint32_t ssids[3]; /* in different level 2 tables */
    uint32_t missing;
    const char *why;
} two_levels[] = {
    {STE_S1FMT_4K, 8, {1, 70, 255}, 130, "its level 2 table is not there"},
    {STE_S1FMT_64K, 12, {1, 1030, 4095}, 2050, "its level 2 table is not there"},
    {STE_S1FMT_4K, 3, {1, 4, 7}, 8, "beyond S1CDMax, though the table has room"},
};

static void test_two_levels(const struct two_levels *shape)
{
    struct smmu_cd_table table;

    test_section("Two levels, tables of %u, for %u SubstreamIDs",
                 shape->format == STE_S1FMT_4K ? 64 : 1024, 1u << shape->ssid_lg2);
    smmu_cd_table_init(&table, shape->ssid_lg2, shape->format);
    add_space(&table, 0);
    for (unsigned i = 0; i < 3; i++)
        add_space(&table, shape->ssids[i]);
    attach(&table, STE_S1DSS_SSID0);
    check_engine_writes(&rig, 0, IOVA, PAGE_PA(0), "no substream");
    for (unsigned i = 0; i < 3; i++)
        check_engine_writes(&rig, ENGINE_SUBSTREAM(shape->ssids[i]), IOVA, PAGE_PA(shape->ssids[i]),
                            "a substream");
    check_engine_write_refused(&rig, ENGINE_SUBSTREAM(shape->missing), IOVA,
                               EVENT_C_BAD_SUBSTREAMID, shape->why);
}

static void test_one_descriptor(void)
{
    volatile struct cd *memory = smmu_cd_alloc();
    struct cd cd = make_space(0, PAGE_PA(0));
    struct ste ste = smmu_ste_make_s1(memory);

    test_section("A stream with one Context descriptor takes no SubstreamID");
    smmu_cd_write(memory, &cd);
    smmu_stream_attach(&rig.smmu, rig.sid, &ste);
    issue(smmu_cmd_tlbi(CMD_TLBI_NSNH_ALL));
    check_engine_writes(&rig, 0, IOVA, PAGE_PA(0), "no substream");
    check_engine_write_refused(&rig, ENGINE_SUBSTREAM(0), IOVA, EVENT_C_BAD_SUBSTREAMID,
                               "substream 0");
}

/* Descriptors for several substreams in one table: scatter-gather, and a message at the end. */
static void test_channel(struct smmu_cd_table *table)
{
    volatile uint32_t *mailbox = (volatile uint32_t *)(OTHER_PA + 0x40);
    static const uint32_t ssids[3] = {1, 5, 15};
    uint64_t iova = (uintptr_t)rig.descriptors;

    test_section("One channel, three substreams, a message at the end");
    for (unsigned i = 0; i < 3; i++)
        add_space(table, ssids[i]);
    struct cd plain = make_space(0, OTHER_PA);
    smmu_cd_write(smmu_cd_table_entry(table, 0), &plain);
    attach(table, STE_S1DSS_SSID0);
    *mailbox = 0;
    for (unsigned i = 0; i < 3; i++) {
        struct engine_request request = {
            ENGINE_FILL, ENGINE_SUBSTREAM(ssids[i]), 8, 0, IOVA, 0x1111ul * ssids[i],
        };

        *(volatile uint64_t *)PAGE_PA(ssids[i]) = 0;
        engine_describe(&rig.descriptors[i], &request);
    }
    engine_set_message(&rig.engine, 1, IOVA + 0x40, 0xd04e);
    engine_start(&rig.engine, 1, iova, 3, 0);
    check(engine_state(&rig.engine, 1) == ENGINE_STATE_DONE, "the channel is done");
    for (unsigned i = 0; i < 3; i++)
        check(*(volatile uint64_t *)PAGE_PA(ssids[i]) == 0x1111ul * ssids[i],
              "substream %u has its value", ssids[i]);
    check(*mailbox == 0xd04e, "the message has come, without SubstreamID");
    check(engine_rig_no_events(&rig), "no event was recorded");
}

int main(void)
{
    struct smmu_config config = {.sid_lg2 = 6, .cmdq_lg2 = 5, .evtq_lg2 = 5};
    struct smmu_cd_table table;

    test_begin("substreams: many address spaces for one stream");
    if (!engine_rig_find(&rig))
        return test_absent("the DMA engine, and an SMMU with stage 1");
    if (field_get(IDR1_SSIDSIZE, rig.smmu.idr1) < 12 || !(rig.smmu.idr0 & IDR0_CD2L))
        return test_absent("12 bits of SubstreamID in two levels (SMMU_IDR1.SSIDSIZE, IDR0.CD2L)");
    if (!engine_rig_start(&rig, &config))
        return test_end();
    test_linear(&table);
    test_privilege();
    test_without_substream(&table);
    test_cfgi_cd(&table);
    test_asids(&table);
    test_channel(&table);
    for (unsigned i = 0; i < ARRAY_COUNT(two_levels); i++)
        test_two_levels(&two_levels[i]);
    test_one_descriptor();
    return test_end();
}
