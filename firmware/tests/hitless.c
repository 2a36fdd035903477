/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An STE that changes while its stream has traffic (Arm IHI 0070, 3.21.3.1): after every step DMA
 * acts as the old STE says or as the new one does, and never as a mixture. Where two doublewords
 * must change together the STE is invalid in between, which is told beforehand.
 */
#include "board.h"
#include "console.h"
#include "mmio.h"
#include "rig.h"

#define IOVA (DMA_BASE + 0x5000) /* an address that exists, for bypass */
#define FIRST_PA (DMA_BASE + 0x1000)
#define SECOND_PA (DMA_BASE + 0x2000)

static struct rig rig;

/* How a stream can be; what DMA to IOVA does then. */
enum outcome { LANDS_SAME, LANDS_FIRST, LANDS_SECOND, ABORTS, IS_INVALID };

static const char *const outcome_names[] = {
    "passes", "goes to the first page", "goes to the second page", "aborts", "meets an invalid STE",
};

static const uint64_t outcome_pa[] = {IOVA, FIRST_PA, SECOND_PA, DMA_BASE, DMA_BASE};

static enum outcome try_dma(void)
{
    static const uint32_t marker = 0x5eed5eed;
    struct smmu_event event;

    for (enum outcome i = LANDS_SAME; i <= LANDS_SECOND; i++)
        *(volatile uint32_t *)outcome_pa[i] = marker;
    dsb();
    uint32_t result = testdev_dma(&rig.dev, IOVA, IOVA, 4);
    dsb();
    if (result == TESTDEV_WRITE_FAILED)
        return smmu_event_pop(&rig.smmu, &event) ? IS_INVALID : ABORTS;
    for (enum outcome i = LANDS_SAME; i <= LANDS_SECOND; i++) {
        if (*(volatile uint32_t *)outcome_pa[i] != marker)
            return i;
    }
    return ABORTS;
}

static struct state {
    const char *name;
    enum outcome outcome;
    struct ste ste;
} states[7];

enum { ABORT, BYPASS, S1_FIRST, S1_SECOND, S2_FIRST, S2_SECOND, NESTED, STATES };

/* What the steps of one change have shown. */
struct watch {
    const struct state *from;
    const struct state *to;
    unsigned changed_at; /* the step that first acted as the new STE; 0: none yet */
    unsigned steps;
    bool good;
    bool invalid_seen;
};

static void look(void *context, unsigned step)
{
    struct watch *watch = context;
    enum outcome seen = try_dma();

    watch->steps = step;
    if (seen == IS_INVALID) {
        watch->invalid_seen = true;
        return;
    }
    if (seen == watch->to->outcome && !watch->changed_at)
        watch->changed_at = step;
    if (seen != (watch->changed_at ? watch->to->outcome : watch->from->outcome)) {
        printf("  after step %u DMA %s\n", step, outcome_names[seen]);
        watch->good = false;
    }
}

/* From one to the other, with everything cached of the old one. */
static void test_change(unsigned from, unsigned to, bool may_be_invalid)
{
    struct watch watch = {&states[from], &states[to], 0, 0, true, false};

    if (!(rig.smmu.idr0 & IDR0_S2P) && (from >= S2_FIRST || to >= S2_FIRST))
        return;
    smmu_stream_attach(&rig.smmu, rig.sid, &states[from].ste);
    smmu_issue_sync(&rig.smmu, smmu_cmd_tlbi(CMD_TLBI_NSNH_ALL));
    enum outcome before = try_dma();
    bool changed = smmu_ste_change(&rig.smmu, rig.sid, &states[to].ste, look, &watch);
    enum outcome after = try_dma();

    check(changed && before == states[from].outcome && after == states[to].outcome && watch.good &&
              watch.invalid_seen == may_be_invalid && rig_no_events(&rig),
          "%s to %s: %u steps, DMA %s, then %s%s", states[from].name, states[to].name, watch.steps,
          outcome_names[before], outcome_names[after],
          watch.invalid_seen ? "; in between the STE is invalid" : "");
}

static volatile struct cd *make_cd(uint16_t asid, uint64_t pa)
{
    volatile struct cd *memory = smmu_cd_alloc();
    struct pagetable table;
    struct cd cd;

    pagetable_init(&table, 12, 39, false);
    pagetable_map(&table, IOVA, pa, 3, PTE_READ_WRITE);
    cd = smmu_cd_make(asid, &table, NULL);
    smmu_cd_write(memory, &cd);
    return memory;
}

/* Stage 2 that leads IOVA to a page, and the guest's tables to themselves. */
static void make_stage2(struct pagetable *stage2, uint64_t pa)
{
    pagetable_init_stage2(stage2, 12, 40);
    for (uint64_t at = POOL_BASE; at < POOL_BASE + POOL_SIZE; at += 0x200000)
        pagetable_map(stage2, at, at, 2, PTE_S2_READ_WRITE);
    pagetable_map(stage2, IOVA, pa, 3, PTE_S2_READ_WRITE);
    pagetable_map(stage2, FIRST_PA, FIRST_PA, 3, PTE_S2_READ_WRITE);
}

static void make_states(void)
{
    volatile struct cd *first = make_cd(1, FIRST_PA);
    volatile struct cd *second = make_cd(2, SECOND_PA);
    struct pagetable stage2_first, stage2_second;

    make_stage2(&stage2_first, FIRST_PA);
    make_stage2(&stage2_second, SECOND_PA);
    states[ABORT] = (struct state){"abort", ABORTS, smmu_ste_make_abort()};
    states[BYPASS] = (struct state){"bypass", LANDS_SAME, smmu_ste_make_bypass()};
    states[S1_FIRST] = (struct state){"stage 1", LANDS_FIRST, smmu_ste_make_s1(first)};
    states[S1_SECOND] = (struct state){"another stage 1", LANDS_SECOND, smmu_ste_make_s1(second)};
    states[S2_FIRST] = (struct state){"stage 2", LANDS_FIRST, smmu_ste_make_s2(3, &stage2_first)};
    states[S2_SECOND] =
        (struct state){"another stage 2", LANDS_SECOND, smmu_ste_make_s2(4, &stage2_second)};
    states[NESTED] = (struct state){
        "both stages",
        LANDS_FIRST,
        smmu_ste_make_nested((uintptr_t)first, 3, &stage2_first),
    };
}

int main(void)
{
    test_begin("hitless: an STE that changes while its stream has traffic");
    if (!rig_start(&rig, &RIG_CONFIG_DEFAULT))
        return test_end();
    make_states();

    test_section("Changes that fit one doubleword");
    test_change(ABORT, BYPASS, false);
    test_change(ABORT, S1_FIRST, false);
    test_change(BYPASS, ABORT, false);
    test_change(BYPASS, S1_FIRST, false);
    test_change(S1_FIRST, ABORT, false);
    test_change(S1_FIRST, BYPASS, false);
    test_change(S1_FIRST, S1_SECOND, false);
    test_change(S1_SECOND, S1_FIRST, false);
    test_change(ABORT, S2_FIRST, false);
    test_change(S2_FIRST, ABORT, false);
    test_change(S2_FIRST, BYPASS, false);
    test_change(BYPASS, S2_FIRST, false);
    test_change(S2_FIRST, NESTED, false);
    test_change(NESTED, S2_FIRST, false);
    test_change(NESTED, BYPASS, false);
    test_change(NESTED, ABORT, false);
    test_change(ABORT, NESTED, false);

    test_section("Changes that do not");
    test_change(S2_FIRST, S2_SECOND, true);
    test_change(S1_SECOND, S2_FIRST, true);
    test_change(S2_FIRST, S1_SECOND, true);
    test_change(S1_FIRST, NESTED, true);
    return test_end();
}
