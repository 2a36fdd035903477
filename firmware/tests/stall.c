/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The stall model (Arm IHI 0070, 3.12.2, 4.7 and 5.5): faults that wait for software. What a
 * driver does with it: look at the record, repair the table, let the transaction try again; or end
 * it. In the last test an interrupt handler maps pages as they are asked for.
 */
#include "board.h"
#include "console.h"
#include "engine_rig.h"
#include "gic.h"
#include "mmio.h"
#include "sysreg.h"

#define ASID 3
#define IOVA(n) (0x20300000ul + 0x1000ul * (n))
#define PAGE_PA(n) (DMA_BASE + 0x1000ul * (n))
#define VALUE 0xfeedul

static struct engine_rig rig;
static struct pagetable table;
static volatile struct cd *cd;

static void issue(struct smmu_command command)
{
    if (!smmu_issue_sync(&rig.smmu, command))
        check(false, "the command is taken");
}

static void use_cd_bits(uint64_t clear, uint64_t set)
{
    struct cd changed = smmu_cd_make(ASID, &table, NULL);

    changed.dw[0] = (changed.dw[0] & ~clear) | set;
    smmu_cd_write(cd, &changed);
    issue(smmu_cmd_cfgi_cd(rig.sid, true));
}

static enum engine_state start(unsigned channel, unsigned operation, uint64_t access, uint64_t iova)
{
    struct engine_request request = {operation, access, 8, iova, iova, VALUE + channel};

    return engine_rig_run(&rig, channel, &request);
}

static void map(unsigned page)
{
    pagetable_map(&table, IOVA(page), PAGE_PA(page), 3, PTE_READ_WRITE);
}

/* Takes one record; it must be of a stalled translation fault. Returns its tag. */
static uint16_t take_stall(uint64_t iova)
{
    struct smmu_event event = {0};
    bool found = smmu_event_pop(&rig.smmu, &event);

    check(found && smmu_event_type(&event) == EVENT_F_TRANSLATION && event.dw[1] & EVENT1_STALL &&
              event.dw[2] == iova,
          "the record says that the access to 0x%lx is stalled", iova);
    printf("      ");
    smmu_event_print(&event);
    return (uint16_t)field_get(EVENT1_STAG, event.dw[1]);
}

static void check_state(unsigned channel, enum engine_state state)
{
    enum engine_state found = engine_state(&rig.engine, channel);

    check(found == state, "channel %u: %s", channel, engine_state_name(found));
}

static void test_retry(void)
{
    volatile uint64_t *target = (volatile uint64_t *)PAGE_PA(0);

    test_section("A write that stalls, is repaired, and tries again");
    *target = 0;
    check(start(0, ENGINE_FILL, ENGINE_CAN_WAIT, IOVA(0)) == ENGINE_STATE_BUSY, "the engine waits");
    uint16_t stag = take_stall(IOVA(0));
    map(8);
    start(1, ENGINE_FILL, ENGINE_CAN_WAIT, IOVA(8));
    while (engine_state(&rig.engine, 1) == ENGINE_STATE_BUSY) {
    }
    check(engine_state(&rig.engine, 1) == ENGINE_STATE_DONE, "another channel goes on meanwhile");
    issue(smmu_cmd_cfgi_cd(rig.sid, true));
    issue(smmu_cmd_tlbi(CMD_TLBI_NSNH_ALL));
    check_state(0, ENGINE_STATE_BUSY);
    map(0);
    check_state(0, ENGINE_STATE_BUSY);
    issue(smmu_cmd_resume(rig.sid, (uint16_t)(stag + 1), SMMU_RESUME_RETRY));
    issue(smmu_cmd_resume(rig.sid + 1, stag, SMMU_RESUME_RETRY));
    check_state(0, ENGINE_STATE_BUSY);
    issue(smmu_cmd_resume(rig.sid, stag, SMMU_RESUME_RETRY));
    check_state(0, ENGINE_STATE_DONE);
    check(*target == VALUE, "the write has landed");
    check(engine_rig_no_events(&rig), "nothing else was recorded");
}

static void test_retry_in_vain(void)
{
    test_section("A retry that faults again stalls again");
    start(0, ENGINE_READ, ENGINE_CAN_WAIT, IOVA(1));
    uint16_t stag = take_stall(IOVA(1));
    issue(smmu_cmd_resume(rig.sid, stag, SMMU_RESUME_RETRY));
    check_state(0, ENGINE_STATE_BUSY);
    stag = take_stall(IOVA(1));
    map(1);
    *(volatile uint64_t *)PAGE_PA(1) = 0xabcd;
    dma_write_barrier();
    issue(smmu_cmd_resume(rig.sid, stag, SMMU_RESUME_RETRY));
    check_state(0, ENGINE_STATE_DONE);
    check(engine_value(&rig.descriptors[0]) == 0xabcd, "the read has its value");
}

static void test_end_of_access(void)
{
    test_section("Software ends the access");
    start(0, ENGINE_FILL, ENGINE_CAN_WAIT, IOVA(2));
    issue(smmu_cmd_resume(rig.sid, take_stall(IOVA(2)), SMMU_RESUME_ABORT));
    check_state(0, ENGINE_STATE_TRANSFER_FAILED);
    check(engine_result(&rig.descriptors[0]) == ENGINE_WRITE_REFUSED, "the write was aborted");

    start(0, ENGINE_READ, ENGINE_CAN_WAIT, IOVA(2));
    uint16_t stag = take_stall(IOVA(2));
    issue(smmu_cmd_resume(rig.sid, stag, SMMU_RESUME_IGNORE));
    if (rig.smmu.idr0 & IDR0_TERM_MODEL) {
        check_state(0, ENGINE_STATE_TRANSFER_FAILED);
        return;
    }
    check_state(0, ENGINE_STATE_DONE);
    check(engine_value(&rig.descriptors[0]) == 0, "the read found zeros");
}

/* All channels wait at once; they are answered in the opposite order. */
static void test_several(void)
{
    uint16_t stags[ENGINE_CHANNELS];
    bool unique = true;

    test_section("%u accesses that are stalled at once", ENGINE_CHANNELS);
    for (unsigned i = 0; i < ENGINE_CHANNELS; i++)
        start(i, ENGINE_FILL, ENGINE_CAN_WAIT, IOVA(16 + i));
    for (unsigned i = 0; i < ENGINE_CHANNELS; i++) {
        stags[i] = take_stall(IOVA(16 + i));
        for (unsigned j = 0; j < i; j++)
            unique = unique && stags[i] != stags[j];
    }
    check(unique, "no two have the same tag");
    for (unsigned i = ENGINE_CHANNELS; i-- > 0;) {
        map(16 + i);
        issue(smmu_cmd_resume(rig.sid, stags[i], SMMU_RESUME_RETRY));
        check(engine_state(&rig.engine, i) == ENGINE_STATE_DONE &&
                  (!i || engine_state(&rig.engine, i - 1) == ENGINE_STATE_BUSY) &&
                  *(volatile uint64_t *)PAGE_PA(16 + i) == VALUE + i,
              "channel %u is done, and its neighbour still waits", i);
    }
}

static void test_stall_term(void)
{
    test_section("CMD_STALL_TERM ends all of a stream");
    for (unsigned i = 0; i < 4; i++)
        start(i, ENGINE_FILL, ENGINE_CAN_WAIT, IOVA(32 + i));
    for (unsigned i = 0; i < 4; i++)
        take_stall(IOVA(32 + i));
    issue(smmu_cmd_stall_term(rig.sid + 1));
    check_state(3, ENGINE_STATE_BUSY);
    issue(smmu_cmd_stall_term(rig.sid));
    for (unsigned i = 0; i < 4; i++)
        check_state(i, ENGINE_STATE_TRANSFER_FAILED);
    check(engine_rig_no_events(&rig), "nothing else was recorded");
}

/* How a driver takes a stream away: no new faults, then what waits is ended. */
static void test_detach(void)
{
    struct ste abort = smmu_ste_make_abort();
    struct ste translate = smmu_ste_make_s1(cd);

    test_section("A stream is taken away while an access waits");
    start(0, ENGINE_FILL, ENGINE_CAN_WAIT, IOVA(40));
    uint16_t stag = take_stall(IOVA(40));
    smmu_stream_attach(&rig.smmu, rig.sid, &abort);
    check_state(0, ENGINE_STATE_BUSY);
    issue(smmu_cmd_resume(rig.sid, stag, SMMU_RESUME_RETRY));
    printf("  the access meets STE.Config = abort, and so does the engine's own result\n");
    check_state(0, ENGINE_STATE_RESULT_REFUSED);
    check(engine_rig_no_events(&rig), "nothing is recorded");
    smmu_stream_attach(&rig.smmu, rig.sid, &translate);
}

static void test_no_stall(void)
{
    test_section("What does not stall");
    check_engine_write_refused(&rig, 0, IOVA(41), EVENT_F_TRANSLATION,
                               "an access of the engine that cannot wait");
    use_cd_bits(CD0_S, 0);
    check_engine_write_refused(&rig, ENGINE_CAN_WAIT, IOVA(41), EVENT_F_TRANSLATION, "CD.S = 0");
    use_cd_bits(CD0_R, CD0_S);
    start(0, ENGINE_FILL, ENGINE_CAN_WAIT, IOVA(41));
    printf("  CD.S = 1 with CD.R = 0: a stall is always recorded\n");
    issue(smmu_cmd_resume(rig.sid, take_stall(IOVA(41)), SMMU_RESUME_ABORT));
    use_cd_bits(0, CD0_S);
}

static void test_disable(void)
{
    test_section("SMMUEN = 0 ends what is stalled");
    start(0, ENGINE_FILL, ENGINE_CAN_WAIT, IOVA(42));
    take_stall(IOVA(42));
    smmu_gbpa_set_abort(&rig.smmu, true);
    smmu_cr0_clear(&rig.smmu, CR0_SMMUEN);
    check(engine_state(&rig.engine, 0) != ENGINE_STATE_BUSY, "the channel does not wait any more");
    smmu_cr0_set(&rig.smmu, CR0_SMMUEN);
}

/* -- pages on demand */

#define DEMAND_PAGES 16
#define SOURCE_PAGE 64
#define TARGET_PAGE 128

static volatile unsigned mapped;
static volatile bool wrong;

/* Maps the page that is asked for and lets the access try again. */
static void on_eventq(void)
{
    struct smmu_event event;

    while (smmu_event_pop(&rig.smmu, &event)) {
        uint64_t page = (event.dw[2] - IOVA(0)) >> 12;

        if (smmu_event_type(&event) != EVENT_F_TRANSLATION || !(event.dw[1] & EVENT1_STALL) ||
            page >= TARGET_PAGE + DEMAND_PAGES) {
            wrong = true;
            continue;
        }
        map((unsigned)page);
        mapped++;

        struct smmu_command resume = smmu_cmd_resume(
            rig.sid, (uint16_t)field_get(EVENT1_STAG, event.dw[1]), SMMU_RESUME_RETRY);
        smmu_issue(&rig.smmu, &resume);
    }
}

static void fill_source(void)
{
    for (unsigned i = 0; i < DEMAND_PAGES * 512; i++)
        ((volatile uint64_t *)PAGE_PA(SOURCE_PAGE))[i] = 0x9e3779b97f4a7c15ul * (i + 1);
    dsb();
}

static bool target_is_right(void)
{
    dsb();
    for (unsigned i = 0; i < DEMAND_PAGES * 512; i++) {
        if (((volatile uint64_t *)PAGE_PA(TARGET_PAGE))[i] != 0x9e3779b97f4a7c15ul * (i + 1))
            return false;
    }
    return true;
}

static void test_demand(void)
{
    struct engine_request request = {
        ENGINE_COPY, ENGINE_CAN_WAIT, DEMAND_PAGES * 0x1000, IOVA(SOURCE_PAGE), IOVA(TARGET_PAGE), 0,
    };

    test_section("A copy of %u pages, none of which is mapped: each comes when it is needed",
                 DEMAND_PAGES);
    fill_source();
    gic_init();
    gic_enable(IRQ_SMMU_EVENTQ, GIC_EDGE, on_eventq);
    smmu_interrupts_set(&rig.smmu, IRQ_CTRL_EVENTQ);
    engine_rig_run(&rig, 0, &request);
    /* No wait for interrupts: what the last CMD_RESUME sets off may end without one. */
    while (engine_state(&rig.engine, 0) == ENGINE_STATE_BUSY) {
        irq_enable();
        isb();
        irq_disable();
    }
    check_state(0, ENGINE_STATE_DONE);
    check(!wrong && mapped == 2 * DEMAND_PAGES, "%u pages were mapped by the handler", mapped);
    check(engine_moved(&rig.descriptors[0]) == DEMAND_PAGES * 0x1000 && target_is_right(),
          "every byte has arrived");
}

int main(void)
{
    struct smmu_config config = {.sid_lg2 = 6, .cmdq_lg2 = 5, .evtq_lg2 = 5};
    struct ste ste;

    test_begin("stall: faults that wait for software");
    if (!engine_rig_find(&rig))
        return test_absent("the DMA engine, and an SMMU with stage 1");
    if (field_get(IDR0_STALL_MODEL, rig.smmu.idr0) != IDR0_STALL_MODEL_BOTH ||
        field_get(IDR5_STALL_MAX, rig.smmu.idr5) < ENGINE_CHANNELS)
        return test_absent("8 stalls at once (SMMU_IDR0.STALL_MODEL, IDR5.STALL_MAX)");
    if (!engine_rig_start(&rig, &config))
        return test_end();
    pagetable_init(&table, 12, 39, false);
    engine_rig_map(&rig, &table);
    cd = smmu_cd_alloc();
    use_cd_bits(0, CD0_S);
    ste = smmu_ste_make_s1(cd);
    smmu_stream_attach(&rig.smmu, rig.sid, &ste);

    test_retry();
    test_retry_in_vain();
    test_end_of_access();
    test_several();
    test_stall_term();
    test_detach();
    test_no_stall();
    test_disable();
    test_demand();
    return test_end();
}
