/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A driver for one SMMUv3 (Arm IHI 0070), polled.
 *
 * The order of register writes is the one that Linux's driver has: everything off, attributes,
 * Stream table, Command queue, invalidate all, Event queue, interrupts, translation on. Structures
 * are in memory that is coherent with the SMMU (SMMU_IDR0.COHACC).
 */
#pragma once

#include "pagetable.h"
#include "smmuv3_regs.h"
#include "smmuv3_tables.h"

/* A ring in memory; prod and cons carry the wrap bit above the index (3.5.1). */
struct smmu_queue {
    volatile uint64_t *ring;
    unsigned lg2;         /* entries */
    unsigned entry_words; /* doublewords in an entry */
    uint32_t prod;
    uint32_t cons;
};

/* What smmu_init() should set up. */
struct smmu_config {
    unsigned sid_lg2;  /* StreamIDs that the Stream table covers */
    unsigned split;    /* 0: a linear table; else StreamIDs in each level 2 table, log2: 6, 8, 10 */
    unsigned cmdq_lg2; /* entries */
    unsigned evtq_lg2;
    unsigned priq_lg2; /* 0: no PRI queue */
    bool e2h;          /* streams of EL2 have two tables and ASIDs */
    bool ats;          /* Translated transactions are checked: CR0.ATSCHK */
};

struct smmu {
    uintptr_t base;
    uint32_t idr0;
    uint32_t idr1;
    uint32_t idr3;
    uint32_t idr5;
    uint32_t cr0;
    struct smmu_config config;
    volatile uint64_t *strtab; /* STEs, or level 1 descriptors */
    struct smmu_queue cmdq;
    struct smmu_queue evtq;
    struct smmu_queue priq;
};

/* Registers. */
uint32_t smmu_read(const struct smmu *smmu, unsigned offset);
void smmu_write(const struct smmu *smmu, unsigned offset, uint32_t value);
void smmu_write64(const struct smmu *smmu, unsigned offset, uint64_t value);

/* Writes a register and waits until its acknowledge equals it; false after a second or so. */
bool smmu_write_acked(const struct smmu *smmu, unsigned reg, unsigned ack, uint32_t value);

/* Reads the ID registers. False, with a line printed, when the driver cannot use this SMMU. */
bool smmu_probe(struct smmu *smmu, uintptr_t base);

/* Allocates tables and queues and turns translation on; every stream aborts until attached. */
bool smmu_init(struct smmu *smmu, const struct smmu_config *config);

/* CR0 with its handshake; the two set or clear bits and leave the others. */
bool smmu_cr0_set(struct smmu *smmu, uint32_t bits);
bool smmu_cr0_clear(struct smmu *smmu, uint32_t bits);

/* What happens to transactions while SMMUEN is 0: abort, or pass untranslated (6.3.14). */
bool smmu_gbpa_set_abort(struct smmu *smmu, bool abort);

/* Which wired interrupts are on: a set of IRQ_CTRL_... (6.3.16). */
bool smmu_interrupts_set(struct smmu *smmu, uint32_t enabled);

/* Tells the SMMU where the Stream table is; only while SMMUEN is 0. */
void smmu_strtab_install(struct smmu *smmu, uint64_t address);

/* Global errors that are active, and their acknowledge (7.5). */
uint32_t smmu_gerror_active(const struct smmu *smmu);
void smmu_gerror_acknowledge(struct smmu *smmu, uint32_t errors);

/*
 * Commands (smmuv3_commands.c). Issuing waits for room; smmu_sync() issues a CMD_SYNC and waits
 * until the SMMU has consumed it. Both are false when a command error stops the queue.
 */
bool smmu_issue(struct smmu *smmu, const struct smmu_command *command);
bool smmu_sync(struct smmu *smmu);
void smmu_command_put(struct smmu *smmu, const struct smmu_command *command); /* no doorbell */
void smmu_command_ring(struct smmu *smmu);                                   /* the doorbell */
bool smmu_command_queue_full(struct smmu *smmu);
uint32_t smmu_command_error(const struct smmu *smmu); /* CMDQ_CONS.ERR */

struct smmu_command smmu_cmd_cfgi_ste(uint32_t sid, bool leaf);
struct smmu_command smmu_cmd_cfgi_cd(uint32_t sid, bool leaf);
struct smmu_command smmu_cmd_cfgi_all(void);
struct smmu_command smmu_cmd_tlbi_va(uint16_t asid, uint64_t address, bool leaf);
struct smmu_command smmu_cmd_tlbi_vaa(uint64_t address, bool leaf);
struct smmu_command smmu_cmd_tlbi_asid(uint16_t asid);
struct smmu_command smmu_cmd_tlbi(unsigned opcode); /* one of the ..._ALL */
struct smmu_command smmu_cmd_sync(unsigned signal);

/* The CD of a SubstreamID. */
struct smmu_command smmu_cmd_cfgi_cd_of(uint32_t sid, uint32_t ssid, bool leaf);

/* The same under a VMID, which is 0 for streams without stage 2; S2_IPA takes an IPA. */
struct smmu_command smmu_cmd_tlbi_vmid(unsigned opcode, uint16_t vmid);
struct smmu_command smmu_cmd_tlbi_ipa(uint16_t vmid, uint64_t ipa, bool leaf);
struct smmu_command smmu_cmd_tlbi_el2_va(uint16_t asid, uint64_t address, bool leaf);
struct smmu_command smmu_cmd_tlbi_el2_vaa(uint64_t address, bool leaf);
struct smmu_command smmu_cmd_tlbi_el2_asid(uint16_t asid);

/*
 * Makes a TLBI by address one of (num + 1) << scale pages of a granule (4.4.1.1). A level, from
 * 1 to 3, says that only leaves of that level are meant; 0 says nothing.
 */
struct smmu_command smmu_cmd_with_range(struct smmu_command tlbi, unsigned granule_lg2,
                                        unsigned num, unsigned scale, unsigned level);

/* Stalled transactions: one is retried or ended, or all of a stream are ended with an abort. */
struct smmu_command smmu_cmd_resume(uint32_t sid, uint16_t stag, uint64_t action);
#define SMMU_RESUME_RETRY CMD_RESUME0_AC
#define SMMU_RESUME_ABORT CMD_RESUME0_AB
#define SMMU_RESUME_IGNORE 0 /* reads give 0, writes are dropped */
struct smmu_command smmu_cmd_stall_term(uint32_t sid);

/* ATS and PRI: 4096 << size_lg2 bytes of an endpoint's cache; the answer to a page request. */
struct smmu_command smmu_cmd_atc_inv(uint32_t sid, uint64_t address, unsigned size_lg2);
struct smmu_command smmu_cmd_pri_resp(const struct smmu_page_request *request, unsigned response);

/* A CMD_SYNC that writes 4 bytes to memory when all before it is complete. */
struct smmu_command smmu_cmd_sync_msi(uint64_t address, uint32_t data);

/*
 * Like smmu_sync(), by message, as drivers do it where the SMMU has them: the message overwrites
 * the first word of the CMD_SYNC itself, which the core polls without a look at registers.
 */
bool smmu_sync_by_message(struct smmu *smmu);

/* Issues one command and a CMD_SYNC. */
bool smmu_issue_sync(struct smmu *smmu, struct smmu_command command);

/*
 * Streams (smmuv3_streams.c). smmu_ste_make...() and smmu_cd_make() only fill in a structure;
 * smmu_stream_attach() puts an STE in the table as 5.2 and 3.21.3 want it: invalid first,
 * valid last, with invalidations between.
 */
struct ste smmu_ste_make_abort(void);
struct ste smmu_ste_make_bypass(void);
struct ste smmu_ste_make_s1(const volatile struct cd *cd);

/* Stage 2 alone, and below a stage 1; tables of stage 2 come from pagetable_init_stage2(). */
struct ste smmu_ste_make_s2(uint16_t vmid, const struct pagetable *stage2);
struct ste smmu_ste_make_nested(uint64_t cd_ipa, uint16_t vmid, const struct pagetable *stage2);

/* Stage 1 by up to two tables; a null one leaves its half of the addresses disabled. */
struct cd smmu_cd_make(uint16_t asid, const struct pagetable *lower, const struct pagetable *upper);

/* A Context descriptor in memory that the SMMU can read. */
volatile struct cd *smmu_cd_alloc(void);
void smmu_cd_write(volatile struct cd *target, const struct cd *source);

/* The entry of a StreamID, in the linear or the two-level table (whose level 2 it allocates). */
volatile struct ste *smmu_ste_of(struct smmu *smmu, uint32_t sid);
bool smmu_stream_attach(struct smmu *smmu, uint32_t sid, const struct ste *ste);

/*
 * Changes a live STE so that the SMMU never meets a mixture (smmuv3_hitless.c). Whatever it reads
 * between two steps acts as the old entry, as the new one, or, where there is no other way, as
 * an invalid one. After every step, which ends with CMD_CFGI_STE and CMD_SYNC, look() is called.
 */
typedef void (*smmu_look)(void *context, unsigned step);
bool smmu_ste_change(struct smmu *smmu, uint32_t sid, const struct ste *target, smmu_look look,
                     void *context);

/* Substreams (smmuv3_substreams.c): a table of 2^ssid_lg2 Context descriptors. */
struct smmu_cd_table {
    unsigned ssid_lg2;
    unsigned format; /* STE_S1FMT_... */
    volatile uint64_t *table;
};

void smmu_cd_table_init(struct smmu_cd_table *table, unsigned ssid_lg2, unsigned format);

/* The descriptor of a SubstreamID; level 2 tables are added. */
volatile struct cd *smmu_cd_table_entry(struct smmu_cd_table *table, uint32_t ssid);

/* dss says what becomes of transactions without SubstreamID: STE_S1DSS_... */
struct ste smmu_ste_make_substreams(const struct smmu_cd_table *table, unsigned dss);

/*
 * Event records (smmuv3_events.c). smmu_event_pop() takes the oldest record; false when there is
 * none. Printing says a record in words.
 */
bool smmu_event_pop(struct smmu *smmu, struct smmu_event *event);
unsigned smmu_event_type(const struct smmu_event *event);
const char *smmu_event_name(unsigned type);
void smmu_event_print(const struct smmu_event *event);
bool smmu_event_queue_overflowed(const struct smmu *smmu);
void smmu_event_queue_acknowledge_overflow(struct smmu *smmu);

/* Page requests (smmuv3_pri.c); false when there is none. */
bool smmu_page_request_pop(struct smmu *smmu, struct smmu_page_request *request);
void smmu_page_request_print(const struct smmu_page_request *request);
