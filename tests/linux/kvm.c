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
#define KVM_IRQ_LINE 0x4008ae61
#define KVM_SET_DEVICE_ATTR 0x4018aee1
#define KVM_CREATE_DEVICE 0xc00caee0
#define KVM_DEV_TYPE_ARM_VGIC_V3 7
#define VGIC_ADDRESSES 0
#define VGIC_DISTRIBUTOR 2
#define VGIC_REDISTRIBUTORS 3
#define VGIC_CONTROL 4
#define VGIC_INIT 0
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
#define ASKS 0x9000020ul  /* a store here raises the line, */
#define TAKEN 0x9000024ul /* one here lowers it */
#define LINE (1u << 24 | 40) /* SPI 40 */

struct memory_region { u32 slot, flags; u64 address, size, host; };
struct vcpu_init { u32 target, features[7]; };
struct one_register { u64 id, address; };
struct new_device { u32 type, file, flags; };
struct attribute { u32 flags, group; u64 number, address; };
struct line { u32 interrupt, level; };

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

/*
 * The guest: stores, a loop of 2^20 rounds, a load, its level; then two interrupts, of a line that
 * the host raises and of its virtual timer, whose numbers it stores; and PSCI's SYSTEM_OFF.
 */
extern const u8 guest[], guest_end[];
__asm__(".balign 2048\n"
        "guest: mov  x0, #0x9000000\n"
        "       mov  w1, #0x1234\n"
        "       str  w1, [x0]\n"
        "       mov  w2, #0\n"
        "1:     add  w2, w2, #1\n"
        "       cmp  w2, #0x100, lsl #12\n"
        "       b.ne 1b\n"
        "       str  w2, [x0, #4]\n"
        "       ldr  w4, [x0, #8]\n"
        "       str  w4, [x0, #12]\n"
        "       mrs  x5, CurrentEL\n"
        "       str  w5, [x0, #16]\n"
        "       adr  x6, guest + 0x800\n"
        "       msr  vbar_el1, x6\n"
        "       mov  x6, #0x8000000\n"        /* distributor: Group 1, SPI 40 */
        "       mov  w7, #0x12\n"
        "       str  w7, [x6]\n"
        "       mov  w7, #0x100\n"
        "       str  w7, [x6, #0x104]\n"
        "       mov  x6, #0x80b0000\n"        /* redistributor: PPI 27 */
        "       mov  w7, #0x8000000\n"
        "       str  w7, [x6, #0x100]\n"
        "       mov  w7, #0xff\n"
        "       msr  s3_0_c4_c6_0, x7\n"      /* ICC_PMR_EL1 */
        "       mov  w7, #1\n"
        "       msr  s3_0_c12_c12_7, x7\n"    /* ICC_IGRPEN1_EL1 */
        "       isb\n"
        "       str  w7, [x0, #0x20]\n"       /* may I have an interrupt? */
        "       msr  daifclr, #2\n"
        "2:     wfi\n"
        "       b    2b\n"
        "       .org guest + 0xa80\n"         /* IRQ */
        "       mrs  x8, s3_0_c12_c12_0\n"    /* ICC_IAR1_EL1 */
        "       msr  cntv_ctl_el0, xzr\n"
        "       str  w8, [x0, #0x24]\n"
        "       msr  s3_0_c12_c12_1, x8\n"    /* ICC_EOIR1_EL1 */
        "       cmp  w8, #27\n"
        "       b.eq 3f\n"
        "       mov  x9, #2000\n"
        "       msr  cntv_tval_el0, x9\n"
        "       mov  x9, #1\n"
        "       msr  cntv_ctl_el0, x9\n"
        "       isb\n"
        "       eret\n"
        "3:     mov  w0, #0x84000000\n"
        "       add  w0, w0, #8\n"
        "       hvc  #0\n"
        "guest_end:\n");

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

    for (long at = 0; at < guest_end - guest; at++)
        memory[at] = guest[at];
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

static void set(long device, u32 group, u64 number, u64 *value)
{
    struct attribute attribute = {0, group, number, (u64)value};

    ioctl("the GIC", device, KVM_SET_DEVICE_ATTR, &attribute);
}

static void make_gic(long vm)
{
    struct new_device new = {KVM_DEV_TYPE_ARM_VGIC_V3, 0, 0};
    u64 distributor = 0x8000000, redistributors = 0x80a0000;

    ioctl("a GIC", vm, KVM_CREATE_DEVICE, &new);
    set(new.file, VGIC_ADDRESSES, VGIC_DISTRIBUTOR, &distributor);
    set(new.file, VGIC_ADDRESSES, VGIC_REDISTRIBUTORS, &redistributors);
    set(new.file, VGIC_CONTROL, VGIC_INIT, 0);
}

static void drive_line(long vm, const struct run *run)
{
    struct line line = {LINE, run->mmio.address == ASKS};

    if (run->mmio.address == ASKS || run->mmio.address == TAKEN)
        ioctl("the line", vm, KVM_IRQ_LINE, &line);
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
    long vm = make_machine(kvm), core = make_core(vm);
    long size = ioctl("the size", kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    struct run *run = (struct run *)sure(
        "its page", call(SYS_MMAP, 0, size, PROT_READ_WRITE, MAP_SHARED, core, 0));

    make_gic(vm);
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
        drive_line(vm, run);
    }
    print("exit ");
    print_number(run->exit_reason);
    print("\n");
    quit(1);
}

__asm__(".global _start\n"
        "_start: mov x29, xzr\n"
        "        bl main_of_all\n");
