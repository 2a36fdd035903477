/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The life of a driver: memory is mapped, used by a device, unmapped and used again. The command
 * line may name one mistake that it shall make (include/bugs.h), or "list" for their names.
 *
 * The image looks at what any driver would look at: whether devices are content, and whether
 * their data arrived. Many mistakes pass unnoticed so, for a while, on some machines.
 */
#include "bugs.h"

#include "board.h"
#include "console.h"
#include "mmio.h"
#include "semihosting.h"
#include "space.h"

#define ROUNDS 4
#define POLLS 1000000
#define BUFFER_PAGES 4
#define LARGE_PAGES 44 /* no power of two, so that each page takes a command */
#define STAGE1_TAG 5
#define OTHER_TAG 6
#define GUEST_TAG 7
#define STAGE2_TAG 9

static const struct {
    const char *name;
    const char *what;
} bugs[] = {
    {"none", "does everything right"},
#define SEEDED_BUG_NAME(id, name, what) {name, what},
    SEEDED_BUGS(SEEDED_BUG_NAME)};

static struct rig rig;
static uint64_t next_iova = 0x20000000; /* addresses are not used twice soon */

static uint64_t iova_alloc(uint64_t size)
{
    uint64_t alignment = size & (size - 1) ? BLOCK_SIZE : size;
    uint64_t iova = align_up(next_iova, alignment);

    next_iova = iova + 2 * size;
    return iova;
}

static bool dma(uint64_t iova, uint64_t pa)
{
    return testdev_dma(&rig.dev, iova, pa, 4) == TESTDEV_OK;
}

/* Pages that lie one after the other, from the pages that are given back. */
static void buffer_alloc(uint64_t *pages, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        pages[i] = frame_alloc();
}

static void buffer_free(const uint64_t *pages, unsigned count)
{
    for (unsigned i = count; i-- > 0;)
        frame_free(pages[i]);
}

/* One transfer as a network card has them: map, go, unmap, and the memory is somebody else's. */
static bool transfer(struct space *space, unsigned count, uint64_t attributes)
{
    uint64_t pages[BUFFER_PAGES];
    uint64_t iova = iova_alloc(count * PAGE_SIZE);
    bool good = true;

    buffer_alloc(pages, count);
    for (unsigned i = 0; i < count; i++)
        space_map(space, iova + i * PAGE_SIZE, pages[i], PAGE_SIZE, attributes);
    for (unsigned i = 0; i < count; i++)
        good &= dma(iova + i * PAGE_SIZE, pages[i]);
    space_unmap(space, iova, count * PAGE_SIZE);
    buffer_free(pages, count);
    return good;
}

static bool transfers(struct space *space, uint64_t attributes)
{
    uint64_t held = iova_alloc(PAGE_SIZE); /* keeps the tables in use */
    uint64_t page = frame_alloc();
    bool good = true;

    space_map(space, held, page, PAGE_SIZE, attributes);
    good &= dma(held, page);
    for (unsigned i = 0; i < ROUNDS; i++)
        good &= transfer(space, i % 2 ? 1 : BUFFER_PAGES, attributes);
    good &= dma(held, page);
    space_unmap(space, held, PAGE_SIZE);
    frame_free(page);
    return good;
}

/* A transfer alone in its 2 MiB, so that its table goes as well. */
static bool lonely_transfer(struct space *space, uint64_t attributes)
{
    next_iova = align_up(next_iova, BLOCK_SIZE);

    bool good = transfer(space, BUFFER_PAGES, attributes);

    next_iova = align_up(next_iova, BLOCK_SIZE);
    return good && transfer(space, 1, attributes);
}

/* More commands in a row than the queue holds. */
static bool large_transfer(struct space *space)
{
    uint64_t size = LARGE_PAGES * PAGE_SIZE;
    uint64_t iova = iova_alloc(size);

    space_map(space, iova, DMA_BASE, size, PTE_READ_WRITE);

    bool good = dma(iova, DMA_BASE) && dma(iova + size - PAGE_SIZE, DMA_BASE + size - PAGE_SIZE);

    space_unmap(space, iova, size);
    return good;
}

static bool split(struct space *space, uint64_t attributes)
{
    uint64_t iova = iova_alloc(BLOCK_SIZE);

    space_map_block(space, iova, DMA_BASE, attributes);

    bool good = dma(iova + PAGE_SIZE, DMA_BASE + PAGE_SIZE);

    space_split(space, iova);
    good &= dma(iova + PAGE_SIZE, DMA_BASE + PAGE_SIZE);
    space_unmap(space, iova + 8 * PAGE_SIZE, 8 * PAGE_SIZE);
    good &= dma(iova, DMA_BASE);
    space_unmap(space, iova, BLOCK_SIZE);
    return good;
}

static bool move_and_protect(struct space *space)
{
    uint64_t pages[2];
    uint64_t iova = iova_alloc(PAGE_SIZE);

    buffer_alloc(pages, 2);
    space_map(space, iova, pages[0], PAGE_SIZE, PTE_READ_WRITE);

    bool good = dma(iova, pages[0]);

    space_move(space, iova, pages[1]);
    frame_free(pages[0]);
    good &= dma(iova, pages[1]);
    space_protect(space, iova);
    good &= transfer(space, 1, PTE_READ_WRITE);
    dma(iova, pages[1]); /* a device that has not heard of it; there is a record */
    space_unmap(space, iova, PAGE_SIZE);
    frame_free(pages[1]);
    return good;
}

/* The device changes hands: the next space has the same tag. */
static bool change_hands(struct space *space, uint32_t sid, uint64_t attributes)
{
    uint64_t iova = iova_alloc(PAGE_SIZE);
    uint64_t page = frame_alloc();
    bool stage2 = space->stage2;
    uint16_t tag = space->tag;

    space_map(space, iova, page, PAGE_SIZE, attributes);

    bool good = dma(iova, page);

    if (BUG(CLOSE_BEFORE_DETACH)) {
        space_close(space);
        good &= space_detach(space, sid);
    } else {
        good &= space_detach(space, sid);
        space_close(space);
    }
    frame_free(page);
    space_open(space, &rig.smmu, stage2, tag);

    struct ste ste = space_ste(space);

    return space_attach(&rig.smmu, sid, &ste) && transfers(space, attributes) && good;
}

static void test_stage1(void)
{
    struct space space;
    struct ste ste;

    test_section("Stage 1");
    space_open(&space, &rig.smmu, false, STAGE1_TAG);
    ste = space_ste(&space);
    check(space_attach(&rig.smmu, rig.sid, &ste), "the stream is attached");
    check(transfers(&space, PTE_READ_WRITE), "transfers");
    check(lonely_transfer(&space, PTE_READ_WRITE), "transfers with tables of their own");
    check(large_transfer(&space), "a large transfer");
    check(split(&space, PTE_READ_WRITE), "a block that becomes pages");
    check(move_and_protect(&space), "a page that moves");
    check(change_hands(&space, rig.sid, PTE_READ_WRITE), "a second owner");
    space_switch(&space, rig.sid, STAGE1_TAG);
    check(transfers(&space, PTE_READ_WRITE), "other tables");
    space_switch(&space, rig.sid, OTHER_TAG);
    check(transfers(&space, PTE_READ_WRITE), "other tables under another ASID");
    check(space_detach(&space, rig.sid), "the stream is detached");
    space_close(&space);
}

static void test_stage2(void)
{
    struct space space;
    struct ste ste;

    test_section("Stage 2");
    space_open(&space, &rig.smmu, true, STAGE2_TAG);
    ste = space_ste(&space);
    check(space_attach(&rig.smmu, rig.sid, &ste), "the stream is attached");
    check(transfers(&space, PTE_S2_READ_WRITE), "transfers");
    check(change_hands(&space, rig.sid, PTE_S2_READ_WRITE), "a second owner");
    check(space_detach(&space, rig.sid), "the stream is detached");
    space_close(&space);
}

/* A guest maps a page of its own; the host takes the page behind it away, and gives another. */
static void test_guest(void)
{
    struct space host, guest;
    uint64_t ipa = 0x70000000, iova = iova_alloc(PAGE_SIZE);
    uint64_t pages[2];
    struct ste ste;

    test_section("A guest's stage 1 on stage 2");
    space_open(&guest, &rig.smmu, false, GUEST_TAG);
    space_open(&host, &rig.smmu, true, STAGE2_TAG);
    host.has_guest = true;
    buffer_alloc(pages, 2);
    for (uint64_t at = POOL_BASE; at < POOL_BASE + POOL_SIZE; at += BLOCK_SIZE)
        space_map_block(&host, at, at, PTE_S2_READ_WRITE);
    space_map(&host, ipa, pages[0], PAGE_SIZE, PTE_S2_READ_WRITE);
    space_map(&guest, iova, ipa, PAGE_SIZE, PTE_READ_WRITE);
    ste = smmu_ste_make_nested((uintptr_t)guest.cd, STAGE2_TAG, &host.table);
    check(space_attach(&rig.smmu, rig.sid, &ste), "the stream is attached");
    check(dma(iova, pages[0]), "a transfer");
    space_unmap(&host, ipa, PAGE_SIZE);
    frame_free(pages[0]);
    space_map(&host, ipa + PAGE_SIZE, pages[1], PAGE_SIZE, PTE_S2_READ_WRITE);
    space_map(&guest, iova + PAGE_SIZE, ipa + PAGE_SIZE, PAGE_SIZE, PTE_READ_WRITE);
    check(dma(iova + PAGE_SIZE, pages[1]), "another page");
    check(space_detach(&guest, rig.sid), "the stream is detached");
    space_close(&host);
}

/* Addresses that are not mapped, in numbers that take the queue around, and then too many. */
static void test_events(void)
{
    struct space space;
    struct ste ste;
    unsigned entries = 1u << rig.smmu.evtq.lg2, taken = 0;
    uint64_t iova = iova_alloc(BLOCK_SIZE);

    test_section("Faults");
    space_open(&space, &rig.smmu, false, STAGE1_TAG);
    ste = space_ste(&space);
    check(space_attach(&rig.smmu, rig.sid, &ste), "the stream is attached");
    for (unsigned i = 0; i < 3 * entries; i++) {
        testdev_dma(&rig.dev, iova, DMA_BASE, 4);
        if (i % 8 == 7)
            taken += space_take_events(&rig.smmu);
    }
    check(taken > 0, "records are taken");
    for (unsigned i = 0; i < 2 * entries; i++)
        testdev_dma(&rig.dev, iova, DMA_BASE, 4);
    check(space_take_events(&rig.smmu) > 0, "after too many, records are taken");
    testdev_dma(&rig.dev, iova, DMA_BASE, 4);
    space_take_events(&rig.smmu);
    check(space_detach(&space, rig.sid), "the stream is detached");
    space_close(&space);
}

static void test_error(void)
{
    test_section("An illegal command");
    space_issue(&rig.smmu, smmu_cmd_tlbi(0xff));
    for (unsigned i = 0; i < POLLS && !smmu_gerror_active(&rig.smmu); i++) {
    }
    space_recover(&rig.smmu);
    check(space_sync(&rig.smmu), "the queue goes on");
}

static void test_registers(void)
{
    struct space space;
    struct ste ste;

    test_section("The Stream table and a message move");
    check(space_move_streams(&rig.smmu), "the Stream table");
    space_move_message(&rig.smmu, DMA_BASE);
    space_move_message(&rig.smmu, DMA_BASE + 8);
    space_open(&space, &rig.smmu, false, STAGE1_TAG);
    ste = space_ste(&space);
    check(space_attach(&rig.smmu, rig.sid, &ste) && transfers(&space, PTE_READ_WRITE),
          "transfers");
    space_detach(&space, rig.sid);
    space_close(&space);
}

static bool equal(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

/* The last word of the command line; false if it is none that is known. */
static bool choose_bug(void)
{
    static char line[256];
    const uint64_t block[2] = {(uintptr_t)line, sizeof(line) - 1};
    const char *word = line;

    if (semihosting_call(SEMIHOSTING_SYS_GET_CMDLINE, (uintptr_t)block))
        return true;
    for (const char *at = line; *at; at++) {
        if (*at == ' ' && at[1])
            word = at + 1;
    }
    for (unsigned i = 0; i < BUG_COUNT; i++) {
        if (equal(word, bugs[i].name))
            seeded_bug = (enum seeded_bug)i;
    }
    if (equal(word, "list")) {
        for (unsigned i = 1; i < BUG_COUNT; i++)
            printf("%s: %s\n", bugs[i].name, bugs[i].what);
        return false;
    }
    return true;
}

int main(void)
{
    test_begin("bugs: the life of a driver, with one mistake or none");
    if (!choose_bug())
        return EXIT_PASS;
    printf("this driver %s\n", bugs[seeded_bug].what);
    if (!rig_start(&rig, &RIG_CONFIG_DEFAULT))
        return test_end();
    test_stage1();
    if (rig.smmu.idr0 & IDR0_S2P) {
        test_stage2();
        test_guest();
    }
    test_events();
    test_error();
    test_registers();
    return test_end();
}
