/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Exceptions taken to PL1 of an AArch32 core from A32 and T32 code: what they leave in LR, SPSR and
 * the fault registers (DDI 0406 B1.9, B3.13), with the MMU off, with short and with long descriptors.
 */
#include "a32.h"

#define NOWHERE 0x70000000u /* neither RAM nor a device */
#define MODE_SVC 0x13
#define SPSR_T BIT(5)
#define DFSR_WNR BIT(11)
#define SHORT_EXTERNAL 0x08
#define SHORT_TRANSLATION_SECTION 0x05
#define SHORT_PERMISSION_SECTION 0x0d
#define LONG_FORMAT BIT(9)
#define LONG_EXTERNAL 0x10
#define LONG_TRANSLATION_LEVEL_1 0x05

static struct frame taken;
static unsigned count;
static uint32_t resume; /* where to go on; 0: behind a 4 byte instruction */

static bool take(struct frame *frame)
{
    taken = *frame;
    count++;
    if (resume) {
        frame->lr = resume & ~1u;
        frame->spsr = (frame->spsr & ~(uint32_t)SPSR_T) | (resume & 1 ? SPSR_T : 0);
    } else if (frame->vector != VECTOR_SVC) {
        frame->lr += 4;
    }
    return true;
}

#define PROVOKE(instruction, at, ...)                      \
    __asm__ volatile("adr %0, 1f\n1: " instruction         \
                     : "=&r"(at)                           \
                     : __VA_ARGS__                         \
                     : "memory", "r0", "r1", "r12", "lr")

static void check_taken(const char *what, unsigned vector, uint32_t lr)
{
    check(count == 1 && taken.vector == vector && taken.lr == lr &&
              (taken.spsr & 0x3f) == MODE_SVC,
          "%s: vector %u", what, taken.vector);
    count = 0;
}

static void check_data(const char *what, uint32_t at, uint32_t status, uint32_t address)
{
    check_taken(what, VECTOR_DATA, at);
    check(cp15_read(0, c5, c0, 0) == status && cp15_read(0, c6, c0, 0) == address,
          "DFSR 0x%x, DFAR 0x%08x", cp15_read(0, c5, c0, 0), cp15_read(0, c6, c0, 0));
}

static void test_instructions(void)
{
    uint32_t at;

    section("Instructions that give an exception");
    PROVOKE("svc #0x42", at, "i"(0));
    check_taken("SVC", VECTOR_SVC, at + 4);
    PROVOKE("udf #7", at, "i"(0));
    check_taken("an undefined instruction", VECTOR_UNDEFINED, at);
    PROVOKE("bkpt #3", at, "i"(0));
    check_taken("BKPT", VECTOR_PREFETCH, at);
}

/* The T32 code calls what follows it, one instruction each. */
static void test_t32(void)
{
    section("The same from T32 code");
    __asm__ volatile("adr r0, 2f\n orr r0, r0, #1\n str r0, %0\n"
                     "adr r1, 1f\n orr r1, r1, #1\n bx r1\n"
                     ".balign 4\n .thumb\n1: udf #3\n nop\n2: bx pc\n nop\n .arm\n"
                     : "=m"(resume)
                     :
                     : "r0", "r1", "memory");
    check(count == 1 && taken.vector == VECTOR_UNDEFINED && taken.spsr & SPSR_T,
          "an undefined instruction: vector %u", taken.vector);
    count = 0;
    resume = 0;
    __asm__ volatile("adr r1, 1f\n orr r1, r1, #1\n bx r1\n"
                     ".balign 4\n .thumb\n1: svc #0x42\n nop\n bx pc\n nop\n .arm\n"
                     :
                     :
                     : "r1", "lr", "memory");
    check(count == 1 && taken.vector == VECTOR_SVC && taken.spsr & SPSR_T, "SVC: vector %u",
          taken.vector);
    count = 0;
}

static void test_aborts(uint32_t nowhere, uint32_t load, uint32_t store)
{
    uint32_t at;

    PROVOKE("ldr r0, [%1, #0x10]", at, "r"(nowhere));
    check_data("LDR", at, load, nowhere + 0x10);
    PROVOKE("str r0, [%1, #0x20]", at, "r"(nowhere));
    check_data("STR", at, store, nowhere + 0x20);
    PROVOKE("ldm %1, {r0, r1}", at, "r"(nowhere + 0x40));
    check_data("LDM", at, load, nowhere + 0x40);
    PROVOKE("stmdb %1, {r0, r1, r12}", at, "r"(nowhere + 0x80));
    check_data("STMDB", at, store, nowhere + 0x74);
    PROVOKE("ldrd r0, r1, [%1, #8]", at, "r"(nowhere));
    check_data("LDRD", at, load, nowhere + 8);
}

static void jump(uint32_t target)
{
    __asm__ volatile("adr r0, 1f\n str r0, %0\n bx %1\n1:"
                     : "=m"(resume)
                     : "r"(target)
                     : "r0", "memory");
    resume = 0;
}

static void test_jump(const char *what, uint32_t target, uint32_t status)
{
    jump(target);
    check(count == 1 && taken.vector == VECTOR_PREFETCH && taken.lr == target, "%s", what);
    check(cp15_read(0, c5, c0, 1) == status && cp15_read(0, c6, c0, 2) == target,
          "IFSR 0x%x, IFAR 0x%08x", cp15_read(0, c5, c0, 1), cp15_read(0, c6, c0, 2));
    count = 0;
}

#define SECTION_FULL_ACCESS 0xc02u /* AP 0b11, domain 0 */
#define SECTION_READ_ONLY 0x8c02u  /* AP[2:0] 0b111 */
#define SECTION_NORMAL 0x100cu     /* TEX 0b001, C, B */

/* One level 1 table of sections of 1 MiB: identity for devices and RAM. */
static void test_short_descriptors(void)
{
    uint32_t *level1 = pool_alloc(0x4000, 0x4000);
    uint32_t at;

    section("The MMU with short descriptors");
    for (uint32_t i = 0x080; i < 0x0a0; i++)
        level1[i] = i << 20 | SECTION_FULL_ACCESS;
    for (uint32_t i = 0x400; i < 0x600; i++)
        level1[i] = i << 20 | SECTION_FULL_ACCESS | SECTION_NORMAL;
    level1[0x700] = 0x50000000 | SECTION_READ_ONLY | SECTION_NORMAL;
    cp15_write(0, c2, c0, 2, 0);      /* TTBCR */
    cp15_write(0, c2, c0, 0, level1); /* TTBR0 */
    cp15_write(0, c3, c0, 0, 1);      /* DACR: domain 0 is a client */
    barrier();
    cp15_write(0, c8, c7, 0, 0); /* TLBIALL */
    cp15_write(0, c1, c0, 0, cp15_read(0, c1, c0, 0) | 1);
    barrier();

    *(volatile uint32_t *)0x50000000 = 0x12345678;
    check(*(volatile uint32_t *)0x70000000 == 0x12345678, "another address for a page of RAM");
    PROVOKE("str r0, [%1, #4]", at, "r"(0x70000000));
    check_data("a store there", at, DFSR_WNR | SHORT_PERMISSION_SECTION, 0x70000004);
    test_aborts(0x71000000, SHORT_TRANSLATION_SECTION, DFSR_WNR | SHORT_TRANSLATION_SECTION);
    test_jump("a jump", 0x71000100, SHORT_TRANSLATION_SECTION);
    cp15_write(0, c7, c8, 0, 0x70000123); /* ATS1CPR */
    barrier();
    check((cp15_read(0, c7, c4, 0) & 0xfffff000) == 0x50000000, "ATS1CPR gives 0x%08x",
          cp15_read(0, c7, c4, 0) & 0xfffff000);
    cp15_write(0, c1, c0, 0, cp15_read(0, c1, c0, 0) & ~1u);
    barrier();
}

#define BLOCK 0x701ull       /* valid, AF, inner shareable, attribute 0 */
#define BLOCK_DEVICE 0x405ull /* attribute 1 */

static void test_long_descriptors(void)
{
    uint64_t *level1 = pool_alloc(32, 32);

    section("The MMU with long descriptors");
    level1[0] = BLOCK_DEVICE;
    level1[1] = 0x40000000 | BLOCK;
    level1[2] = 0x4000000000ull | BLOCK_DEVICE;
    cp15_write(0, c10, c2, 0, 0x04ff); /* MAIR0 */
    cp15_write(0, c2, c0, 2, 1u << 31); /* TTBCR.EAE */
    cp15_write64(0, c2, (uintptr_t)level1);
    barrier();
    cp15_write(0, c8, c7, 0, 0);
    cp15_write(0, c1, c0, 0, cp15_read(0, c1, c0, 0) | 1);
    barrier();

    test_aborts(0xc0000000, LONG_FORMAT | LONG_TRANSLATION_LEVEL_1,
                LONG_FORMAT | DFSR_WNR | LONG_TRANSLATION_LEVEL_1);
    test_jump("a jump", 0xc0000100, LONG_FORMAT | LONG_TRANSLATION_LEVEL_1);
    cp15_write(0, c7, c8, 0, 0x90000000); /* ATS1CPR */
    barrier();
    check((cp15_read64(0, c7) & 0xfffffff000ull) == 0x4010000000ull,
          "ATS1CPR gives 0x%lx, above 4 GiB", cp15_read64(0, c7) & 0xfffffff000ull);
    check(read32(0x90000000) == 0x00081b36, "PCI configuration space is there: 0x%08x",
          read32(0x90000000));
    uint32_t at;
    PROVOKE("ldr r0, [%1]", at, "r"(0xb0000000));
    check_data("a load from nowhere above 4 GiB", at, LONG_FORMAT | LONG_EXTERNAL, 0xb0000000);
    cp15_write(0, c1, c0, 0, cp15_read(0, c1, c0, 0) & ~1u);
    barrier();
    cp15_write(0, c2, c0, 2, 0);
}

int main(void)
{
    print("Exceptions of an AArch32 core\n");
    current_hook = take;
    test_instructions();
    test_t32();
    section("External aborts");
    test_aborts(NOWHERE, SHORT_EXTERNAL, DFSR_WNR | SHORT_EXTERNAL);
    test_jump("a jump", NOWHERE + 0x100, SHORT_EXTERNAL);
    test_short_descriptors();
    test_long_descriptors();
    return test_end();
}
