/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A virtual machine of 64 KiB by way of /dev/kvm, and what it does: a line for each of its exits.
 * No library: the kernel that runs it has a busybox beside it and nothing else.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

#define AT_CURRENT_FOLDER (-100)
#define READ_WRITE 2
#define PROT_READ_WRITE 3
#define MAP_SHARED 1
#define MAP_SHARED_ANONYMOUS 0x21
enum { SYS_IOCTL = 29, SYS_OPENAT = 56, SYS_WRITE = 64, SYS_EXIT = 94, SYS_MMAP = 222 };

#define KVM_CREATE_VM 0xae01
#define KVM_GET_VCPU_MMAP_SIZE 0xae04
#define KVM_CREATE_VCPU 0xae41
#define KVM_SET_USER_MEMORY_REGION 0x4020ae46
#define KVM_RUN 0xae80
#define KVM_SET_ONE_REG 0x4010aeac
#define KVM_ARM_VCPU_INIT 0x4020aeae
#define KVM_ARM_PREFERRED_TARGET 0x8020aeaf
#define KVM_ARM_VCPU_PSCI_0_2 (1u << 2)
#define KVM_EXIT_MMIO 6
#define KVM_EXIT_SYSTEM_EVENT 24
#define REGISTER_PC 0x6030000000100040ul

#define MEMORY 0x40000000ul
#define MEMORY_SIZE 0x10000ul
#define MOST_EXITS 20
#define ANSWER 0xcafe

struct memory_region { u32 slot, flags; u64 address, size, host; };
struct vcpu_init { u32 target, features[7]; };
struct one_register { u64 id, address; };

/* The beginning of struct kvm_run. */
struct run {
    u8 head[8];
    u32 exit_reason;
    u8 middle[20];
    union {
        struct { u64 address; u8 data[8]; u32 length; u8 is_write; } mmio;
        struct { u32 type; } system;
    };
};

/* Stores, a loop of 2^20 rounds, a load, its level, and PSCI's SYSTEM_OFF. */
static const u32 code[] = {
    0xd2a12000, /* mov  x0, #0x9000000 */
    0xd2824681, /* mov  x1, #0x1234 */
    0xb9000001, /* str  w1, [x0] */
    0xd2800002, /* mov  x2, #0 */
    0xd2a00203, /* mov  x3, #0x100000 */
    0x91000442, /* add  x2, x2, #1 */
    0xeb03005f, /* cmp  x2, x3 */
    0x54ffffc1, /* b.ne .-8 */
    0xb9000402, /* str  w2, [x0, #4] */
    0xb9400804, /* ldr  w4, [x0, #8] */
    0xb9000c04, /* str  w4, [x0, #12] */
    0xd5384245, /* mrs  x5, CurrentEL */
    0xb9001005, /* str  w5, [x0, #16] */
    0xd2800100, /* mov  x0, #8 */
    0xf2b08000, /* movk x0, #0x8400, lsl #16 */
    0xd4000002, /* hvc  #0 */
    0x14000000, /* b    . */
};

static long call(long number, long a, long b, long c, long d, long e, long f)
{
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c, x3 __asm__("x3") = d, x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;

    __asm__ volatile("svc #0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return x0;
}

static void print(const char *text)
{
    long length = 0;

    while (text[length])
        length++;
    call(SYS_WRITE, 1, (long)text, length, 0, 0, 0);
}

static void print_number(u64 value)
{
    char text[] = "0x0000000000000000";

    for (int digit = 17; digit > 1; digit--, value >>= 4)
        text[digit] = "0123456789abcdef"[value & 15];
    print(text);
}

_Noreturn static void quit(int status)
{
    for (;;)
        call(SYS_EXIT, status, 0, 0, 0, 0, 0);
}

/* A result that may not be negative. */
static long sure(const char *what, long result)
{
    if (result >= 0)
        return result;
    print(what);
    print(" failed: -");
    print_number((u64)-result);
    print("\n");
    quit(1);
}

#define ioctl(what, file, request, argument) \
    sure(what, call(SYS_IOCTL, file, request, (long)(argument), 0, 0, 0))

static long make_machine(long kvm)
{
    long vm = ioctl("a machine", kvm, KVM_CREATE_VM, 0);
    u8 *memory = (u8 *)sure("its memory", call(SYS_MMAP, 0, MEMORY_SIZE, PROT_READ_WRITE,
                                               MAP_SHARED_ANONYMOUS, -1, 0));
    struct memory_region region = {0, 0, MEMORY, MEMORY_SIZE, (u64)memory};

    for (unsigned at = 0; at < sizeof code; at++)
        memory[at] = ((const u8 *)code)[at];
    ioctl("a slot for it", vm, KVM_SET_USER_MEMORY_REGION, &region);
    return vm;
}

static long make_core(long vm)
{
    long core = ioctl("a core", vm, KVM_CREATE_VCPU, 0);
    struct vcpu_init init = {0};
    u64 pc = MEMORY;
    struct one_register set = {REGISTER_PC, (u64)&pc};

    ioctl("its model", vm, KVM_ARM_PREFERRED_TARGET, &init);
    init.features[0] |= KVM_ARM_VCPU_PSCI_0_2;
    ioctl("its reset", core, KVM_ARM_VCPU_INIT, &init);
    ioctl("its PC", core, KVM_SET_ONE_REG, &set);
    return core;
}

static void tell(struct run *run)
{
    u32 *data = (u32 *)run->mmio.data;

    if (!run->mmio.is_write)
        *data = ANSWER;
    print(run->mmio.is_write ? "store " : "load ");
    print_number(run->mmio.address);
    print(" ");
    print_number(*data);
    print("\n");
}

void main_of_all(void);

void main_of_all(void)
{
    long kvm = sure("/dev/kvm", call(SYS_OPENAT, AT_CURRENT_FOLDER, (long)"/dev/kvm", READ_WRITE,
                                     0, 0, 0));
    long core = make_core(make_machine(kvm));
    long size = ioctl("the size", kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    struct run *run = (struct run *)sure(
        "its page", call(SYS_MMAP, 0, size, PROT_READ_WRITE, MAP_SHARED, core, 0));

    for (unsigned exits = 0; exits < MOST_EXITS; exits++) {
        ioctl("a run", core, KVM_RUN, 0);
        if (run->exit_reason == KVM_EXIT_SYSTEM_EVENT) {
            print("system event ");
            print_number(run->system.type);
            print("\n");
            quit(0);
        }
        if (run->exit_reason != KVM_EXIT_MMIO)
            break;
        tell(run);
    }
    print("exit ");
    print_number(run->exit_reason);
    print("\n");
    quit(1);
}

__asm__(".global _start\n"
        "_start: mov x29, xzr\n"
        "        bl main_of_all\n");
