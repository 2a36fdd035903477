/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "space.h"

#include "bugs.h"
#include "mmio.h"
#include "pool.h"

#define ENTRIES 512
#define VA_BITS 39
#define START_LEVEL 1
#define STE_WORDS 8

enum seeded_bug seeded_bug;

/* -- memory */

static uint64_t free_frames;

uint64_t frame_alloc(void)
{
    uint64_t frame = free_frames;

    if (!frame)
        return (uintptr_t)pool_alloc(PAGE_SIZE, PAGE_SIZE);
    free_frames = *(volatile uint64_t *)frame;
    return frame;
}

void frame_free(uint64_t frame)
{
    *(volatile uint64_t *)frame = free_frames;
    free_frames = frame;
}

static uint64_t table_alloc(void)
{
    uint64_t frame = frame_alloc();

    for (unsigned i = 0; i < ENTRIES; i++)
        ((volatile uint64_t *)frame)[i] = 0;
    return frame;
}

/* -- commands */

bool space_issue(struct smmu *smmu, struct smmu_command command)
{
    struct smmu_queue *queue = &smmu->cmdq;
    uint32_t wrap = (uint32_t)BIT(queue->lg2);

    while (!BUG(CMDQ_FULL_IGNORED) && smmu_command_queue_full(smmu)) {
    }
    if (BUG(CMDQ_DOORBELL_FIRST))
        smmu_write(smmu, SMMU_CMDQ_PROD, (queue->prod + 1) & (2 * wrap - 1));
    smmu_command_put(smmu, &command);
    if (BUG(CMDQ_WRAP))
        queue->prod &= wrap - 1;
    smmu_command_ring(smmu);
    return !(smmu_gerror_active(smmu) & GERROR_CMDQ_ERR);
}

bool space_sync(struct smmu *smmu)
{
    uint32_t mask = 2 * (uint32_t)BIT(smmu->cmdq.lg2) - 1;

    if (!space_issue(smmu, smmu_cmd_sync(CMD_SYNC_CS_SEV)))
        return false;
    if (BUG(SYNC_NOT_AWAITED))
        return true;
    for (unsigned i = 0; i < 1000000; i++) {
        if ((smmu_read(smmu, SMMU_CMDQ_CONS) & mask) == smmu->cmdq.prod)
            return true;
        if (smmu_gerror_active(smmu) & GERROR_CMDQ_ERR)
            return false;
    }
    return false;
}

/* -- what has to be forgotten */

static struct smmu_command by_address(const struct space *space, uint64_t iova, bool leaf)
{
    uint16_t tag = space->tag;

    if (BUG(TLBI_PAGE_NUMBER))
        iova >>= 12;
    if (space->stage2 && BUG(TLBI_STAGE1_FOR_STAGE2))
        return smmu_cmd_tlbi_va(0, iova, leaf);
    if (space->stage2)
        return smmu_cmd_tlbi_ipa(BUG(TLBI_WRONG_VMID) ? tag + 1 : tag, iova, leaf);
    if (BUG(TLBI_WRONG_ASID))
        tag++;
    if (BUG(TLBI_ASID_ZERO))
        tag = 0;
    if (BUG(TLBI_EL2))
        return smmu_cmd_tlbi_el2_va(tag, iova, leaf);
    return smmu_cmd_tlbi_va(tag, iova, leaf);
}

/* Ranges that are powers of two, of 2 pages or more, take one command. */
static void forget_range(const struct space *space, uint64_t iova, unsigned lg2, bool leaf)
{
    struct smmu_command command = by_address(space, iova, leaf);
    unsigned granule_lg2 = BUG(TLBI_WRONG_GRANULE) ? 16 : 12;
    unsigned level = leaf ? 3 : 0;
    unsigned scale = lg2 - 12;

    if (leaf && BUG(TLBI_WRONG_LEVEL))
        level = 2;
    if (BUG(TLBI_WRONG_SCALE)) {
        /* NUM + 1 pages: a single one, on a level that no leaf of this range is on */
        scale = 0;
        level = level ? level : 2;
    }
    space_issue(space->smmu, smmu_cmd_with_range(command, granule_lg2, 0, scale, level));
}

static bool is_power_of_two(uint64_t size)
{
    return !(size & (size - 1));
}

static void forget_addresses(const struct space *space, uint64_t iova, uint64_t size, bool leaf)
{
    if (BUG(TLBI_WRONG_ADDRESS))
        iova += size;
    if (BUG(TLBI_FIRST_ONLY))
        size = PAGE_SIZE;
    if (BUG(TLBI_LAST_MISSED) && size > PAGE_SIZE)
        size -= PAGE_SIZE;
    if (space->smmu->idr3 & IDR3_RIL && size > PAGE_SIZE && is_power_of_two(size)) {
        forget_range(space, iova, 63 - (unsigned)__builtin_clzl(size), leaf);
        return;
    }
    for (uint64_t at = iova; at < iova + size; at += PAGE_SIZE)
        space_issue(space->smmu, by_address(space, at, leaf));
}

/* What a guest's stage 1 made of this stage 2 goes with all of the guest's. */
static void forget(const struct space *space, uint64_t iova, uint64_t size, bool leaf)
{
    struct smmu *smmu = space->smmu;

    if (BUG(SYNC_FIRST))
        space_sync(smmu);
    forget_addresses(space, iova, size, leaf);
    if (space->has_guest && !BUG(TLBI_IPA_ALONE))
        space_issue(smmu, smmu_cmd_tlbi_vmid(CMD_TLBI_NH_ALL, space->tag));
    if (!BUG(SYNC_FIRST) && !BUG(SYNC_DROPPED))
        space_sync(smmu);
}

static void forget_tag(const struct space *space)
{
    struct smmu *smmu = space->smmu;

    if (space->stage2)
        space_issue(smmu, smmu_cmd_tlbi_vmid(CMD_TLBI_S12_VMALL, space->tag));
    else
        space_issue(smmu, smmu_cmd_tlbi_asid(space->tag));
    space_sync(smmu);
}

/* -- tables */

static volatile uint64_t *entry_of(volatile uint64_t *table, uint64_t iova, unsigned level)
{
    return &table[iova >> (12 + 9 * (3 - level)) & (ENTRIES - 1)];
}

static void set(volatile uint64_t *descriptor, uint64_t value)
{
    *descriptor = value;
    dma_write_barrier();
}

/* The descriptor of an address; tables above it are added. */
static volatile uint64_t *descriptor(struct space *space, uint64_t iova, unsigned level)
{
    volatile uint64_t *table = space->table.root;

    for (unsigned at = START_LEVEL; at < level; at++) {
        volatile uint64_t *entry = entry_of(table, iova, at);

        if (!(*entry & PTE_VALID)) {
            uint64_t next = table_alloc();

            dma_write_barrier();
            set(entry, next | PTE_TABLE | PTE_VALID);
        }
        table = (volatile uint64_t *)(*entry & PTE_ADDRESS);
    }
    return entry_of(table, iova, level);
}

void space_open(struct space *space, struct smmu *smmu, bool stage2, uint16_t tag)
{
    *space = (struct space){.smmu = smmu, .stage2 = stage2, .tag = tag};
    space->table = (struct pagetable){
        .granule_lg2 = 12,
        .va_bits = VA_BITS,
        .start_level = START_LEVEL,
        .root = (volatile uint64_t *)table_alloc(),
    };
    if (stage2)
        return;

    struct cd cd = smmu_cd_make(tag, &space->table, NULL);

    space->cd = (volatile struct cd *)frame_alloc();
    smmu_cd_write(space->cd, &cd);
}

static void free_tables(volatile uint64_t *table, unsigned level)
{
    for (unsigned i = 0; i < ENTRIES && level < 3; i++) {
        if ((table[i] & (PTE_TABLE | PTE_VALID)) == (PTE_TABLE | PTE_VALID))
            free_tables((volatile uint64_t *)(table[i] & PTE_ADDRESS), level + 1);
    }
    frame_free((uintptr_t)table);
}

void space_close(struct space *space)
{
    if (!BUG(ASID_REUSED) && !BUG(VMID_REUSED))
        forget_tag(space);
    free_tables(space->table.root, START_LEVEL);
}

static void catch_up(struct space *space)
{
    if (space->late.due)
        forget(space, space->late.iova, space->late.size, space->late.leaf);
    space->late.due = false;
}

void space_map(struct space *space, uint64_t iova, uint64_t pa, uint64_t size, uint64_t attributes)
{
    catch_up(space);
    for (uint64_t at = 0; at < size; at += PAGE_SIZE)
        *descriptor(space, iova + at, 3) = (pa + at) | attributes | PTE_TABLE | PTE_VALID;
    dma_write_barrier();
}

void space_map_block(struct space *space, uint64_t iova, uint64_t pa, uint64_t attributes)
{
    catch_up(space);
    set(descriptor(space, iova, 2), pa | attributes | PTE_VALID);
}

static bool is_empty(const volatile uint64_t *table)
{
    for (unsigned i = 0; i < ENTRIES; i++) {
        if (table[i])
            return false;
    }
    return true;
}

/* Takes the last table away if nothing is left in it; 0 if there is. */
static uint64_t unlink_table(struct space *space, uint64_t iova)
{
    volatile uint64_t *link = descriptor(space, iova, 2);
    uint64_t table = *link & PTE_ADDRESS;

    if (!is_empty((volatile uint64_t *)table))
        return 0;
    if (!BUG(TABLE_STILL_LINKED))
        set(link, 0);
    return table;
}

void space_unmap(struct space *space, uint64_t iova, uint64_t size)
{
    if (BUG(TLBI_BEFORE_CLEAR))
        forget(space, iova, size, false);
    for (uint64_t at = iova; at < iova + size; at += PAGE_SIZE)
        *descriptor(space, at, 3) = 0;
    dma_write_barrier();

    uint64_t table = unlink_table(space, iova);
    bool leaf = !table || BUG(TLBI_LEAF_AFTER_TABLE);

    if (table && BUG(TABLE_FREED_EARLY))
        frame_free(table);
    if (BUG(TLBI_LATE)) {
        space->late.iova = iova;
        space->late.size = size;
        space->late.leaf = leaf;
        space->late.due = true;
    } else if (!BUG(TLBI_DROPPED) && !BUG(TLBI_BEFORE_CLEAR)) {
        forget(space, iova, size, leaf);
    }
    if (table && !BUG(TABLE_FREED_EARLY))
        frame_free(table);
}

void space_split(struct space *space, uint64_t iova)
{
    volatile uint64_t *block = descriptor(space, iova, 2);
    uint64_t old = *block;
    uint64_t frame = table_alloc();
    volatile uint64_t *table = (volatile uint64_t *)frame;

    for (unsigned i = 0; i < ENTRIES; i++)
        table[i] = (old + i * PAGE_SIZE) | PTE_TABLE;
    dma_write_barrier();
    if (!BUG(SPLIT_LIVE)) {
        set(block, 0);
        forget(space, iova, BLOCK_SIZE, false);
    }
    set(block, frame | PTE_TABLE | PTE_VALID);
    if (BUG(SPLIT_LIVE))
        forget(space, iova, BLOCK_SIZE, false);
}

void space_move(struct space *space, uint64_t iova, uint64_t pa)
{
    volatile uint64_t *page = descriptor(space, iova, 3);
    uint64_t new = (*page & ~PTE_ADDRESS) | pa;

    if (BUG(NO_BREAK)) {
        set(page, new);
        forget(space, iova, PAGE_SIZE, true);
        return;
    }
    set(page, 0);
    forget(space, iova, PAGE_SIZE, true);
    set(page, new);
}

void space_protect(struct space *space, uint64_t iova)
{
    volatile uint64_t *page = descriptor(space, iova, 3);

    set(page, *page | PTE_AP_READ_ONLY);
    if (!BUG(PERMISSION_KEPT))
        forget(space, iova, PAGE_SIZE, true);
}

/* -- configuration */

struct ste space_ste(const struct space *space)
{
    if (space->stage2)
        return smmu_ste_make_s2(space->tag, &space->table);
    return smmu_ste_make_s1(space->cd);
}

static bool forget_ste(struct smmu *smmu, uint32_t sid)
{
    if (BUG(CFGI_STE_DROPPED))
        return true;
    if (!space_issue(smmu, smmu_cmd_cfgi_ste(BUG(CFGI_STE_WRONG_SID) ? sid + 1 : sid, true)))
        return false;
    return BUG(CFGI_NO_SYNC) || space_sync(smmu);
}

static void store(volatile struct ste *entry, const struct ste *ste, unsigned first, unsigned end)
{
    for (unsigned i = first; i < end; i++)
        entry->dw[i] = ste->dw[i];
    dma_write_barrier();
}

bool space_attach(struct smmu *smmu, uint32_t sid, const struct ste *ste)
{
    volatile struct ste *entry = smmu_ste_of(smmu, sid);

    if (BUG(CFGI_STE_EARLY) && !forget_ste(smmu, sid))
        return false;
    if (BUG(STE_LIVE_REWRITE)) {
        store(entry, ste, 1, STE_WORDS);
        store(entry, ste, 0, 1);
        return forget_ste(smmu, sid);
    }
    entry->dw[0] = 0;
    dma_write_barrier();
    if (!BUG(CFGI_STE_EARLY) && !forget_ste(smmu, sid))
        return false;
    if (BUG(STE_V_FIRST))
        store(entry, ste, 0, 1);
    store(entry, ste, 1, STE_WORDS);
    if (!BUG(CFGI_STE_EARLY) && !forget_ste(smmu, sid))
        return false;
    store(entry, ste, 0, 1);
    return BUG(CFGI_STE_EARLY) || forget_ste(smmu, sid);
}

bool space_detach(struct space *space, uint32_t sid)
{
    struct ste abort = smmu_ste_make_abort();
    bool early = space->cd && BUG(CD_FREED_EARLY);
    uint64_t other = 0;

    if (early) {
        frame_free((uintptr_t)space->cd);
        other = frame_alloc(); /* somebody else takes it, and writes */
        for (unsigned i = 0; i < ENTRIES; i++)
            ((volatile uint64_t *)other)[i] = ~0ul;
    }

    bool good = space_attach(space->smmu, sid, &abort);

    if (other)
        frame_free(other);
    else if (space->cd)
        frame_free((uintptr_t)space->cd);
    space->cd = NULL;
    return good;
}

static void forget_cd(struct smmu *smmu, uint32_t sid)
{
    if (BUG(CFGI_CD_DROPPED))
        return;
    space_issue(smmu, smmu_cmd_cfgi_cd_of(sid, BUG(CFGI_CD_WRONG_SSID) ? 1 : 0, true));
    space_sync(smmu);
}

void space_switch(struct space *space, uint32_t sid, uint16_t tag)
{
    volatile uint64_t *old = space->table.root;
    struct space before = *space;
    struct cd cd;

    space->tag = tag;
    space->table.root = (volatile uint64_t *)table_alloc();
    cd = smmu_cd_make(space->tag, &space->table, NULL);
    if (BUG(CD_V_FIRST)) {
        for (unsigned i = 0; i < ARRAY_COUNT(cd.dw); i++)
            space->cd->dw[i] = cd.dw[i];
        dma_write_barrier();
        forget_cd(space->smmu, sid);
        forget_tag(&before);
    } else {
        space->cd->dw[0] = 0;
        dma_write_barrier();
        forget_cd(space->smmu, sid);
        /* Now, while nothing can be cached of either: the tag may be the same for both. */
        if (!BUG(CD_TLBI_DROPPED))
            forget_tag(&before);
        smmu_cd_write(space->cd, &cd);
        forget_cd(space->smmu, sid);
    }
    free_tables(old, START_LEVEL);
}

/* -- events and errors */

unsigned space_take_events(struct smmu *smmu)
{
    struct smmu_queue *queue = &smmu->evtq;
    uint32_t mask = 2 * (uint32_t)BIT(queue->lg2) - 1;
    uint32_t prod = smmu_read(smmu, SMMU_EVENTQ_PROD);
    uint32_t acknowledged = prod & EVENTQ_PROD_OVFLG;
    unsigned taken = 0;

    for (; queue->cons != (prod & mask) && taken <= mask / 2; taken++)
        queue->cons = (queue->cons + 1) & mask;
    if (BUG(EVENTQ_OVERFLOW_KEPT))
        acknowledged = 0;
    if (BUG(EVENTQ_CONS_STUCK))
        return taken;

    uint32_t cons = queue->cons;

    if (BUG(EVENTQ_CONS_AHEAD) && taken)
        cons = (cons + 1) & mask;
    if (BUG(EVENTQ_NO_WRAP))
        cons &= mask >> 1;
    smmu_write(smmu, SMMU_EVENTQ_CONS, cons | acknowledged);
    return taken;
}

void space_recover(struct smmu *smmu)
{
    struct smmu_queue *queue = &smmu->cmdq;
    uint32_t index = smmu_read(smmu, SMMU_CMDQ_CONS) & ((uint32_t)BIT(queue->lg2) - 1);
    uint32_t active = smmu_gerror_active(smmu);

    if (BUG(GERROR_NEVER))
        return;
    if (BUG(GERROR_BEFORE_FIX))
        smmu_gerror_acknowledge(smmu, active);
    queue->ring[index * queue->entry_words] = smmu_cmd_sync(0).dw[0];
    dma_write_barrier();
    if (BUG(GERROR_ALL))
        active |= GERROR_EVENTQ_ABT_ERR;
    smmu_gerror_acknowledge(smmu, smmu_gerror_active(smmu) & GERROR_CMDQ_ERR ? active : 0);
}

/* -- registers that are not to be written while something is enabled */

static void move_command_queue(struct smmu *smmu)
{
    size_t size = 16ul << smmu->cmdq.lg2;

    smmu->cmdq.ring = pool_alloc(size, size);
    smmu->cmdq.prod = smmu->cmdq.cons = 0;
    smmu_write64(smmu, SMMU_CMDQ_BASE, (uintptr_t)smmu->cmdq.ring | QUEUE_BASE_ALLOCATE |
                                           field_put(QUEUE_BASE_LOG2SIZE, smmu->cmdq.lg2));
    smmu_write(smmu, SMMU_CMDQ_PROD, 0);
    smmu_write(smmu, SMMU_CMDQ_CONS, 0);
}

bool space_move_streams(struct smmu *smmu)
{
    size_t size = sizeof(struct ste) << smmu->config.sid_lg2;
    volatile uint64_t *table = pool_alloc(size, size);
    uint32_t cr1 = smmu_read(smmu, SMMU_CR1);

    for (uint32_t sid = 0; sid < BIT(smmu->config.sid_lg2); sid++)
        table[STE_WORDS * sid] = smmu_ste_make_abort().dw[0];
    dma_write_barrier();
    if (BUG(STRTAB_LIVE)) {
        smmu_strtab_install(smmu, (uintptr_t)table);
        smmu->strtab = table;
        return space_issue(smmu, smmu_cmd_cfgi_all()) && space_sync(smmu);
    }
    if (BUG(CMDQ_BASE_LIVE))
        move_command_queue(smmu);
    if (BUG(CR1_LIVE))
        smmu_write(smmu, SMMU_CR1, cr1 & ~(uint32_t)CR1_TABLE_SH);
    smmu_gbpa_set_abort(smmu, true);
    if (BUG(CR0_NOT_AWAITED)) {
        smmu->cr0 &= ~(uint32_t)CR0_SMMUEN;
        smmu_write(smmu, SMMU_CR0, smmu->cr0);
    } else if (!smmu_cr0_clear(smmu, CR0_SMMUEN)) {
        return false;
    }
    smmu_write(smmu, SMMU_CR1, cr1);
    smmu_strtab_install(smmu, (uintptr_t)table);
    smmu->strtab = table;
    if (!space_issue(smmu, smmu_cmd_cfgi_all()) || !space_sync(smmu))
        return false;
    return smmu_cr0_set(smmu, CR0_SMMUEN);
}

void space_move_message(struct smmu *smmu, uint64_t address)
{
    if (!(smmu->idr0 & IDR0_MSI))
        return;
    if (!BUG(IRQ_CFG_LIVE))
        smmu_interrupts_set(smmu, 0);
    smmu_write64(smmu, SMMU_EVENTQ_IRQ_CFG0, address);
    smmu_write(smmu, SMMU_EVENTQ_IRQ_CFG1, 1);
    smmu_interrupts_set(smmu, IRQ_CTRL_EVENTQ);
}
