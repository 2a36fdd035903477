/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Mistakes that drivers make, each one switch away from the right way.
 *
 * The driver in lib/space.c asks BUG(NAME) wherever it could go wrong; seeded_bug says which one it
 * shall do. With none it is a driver to learn from: leave out what stands behind BUG().
 */
#pragma once

/* Identifier, name, what the driver does wrong. */
#define SEEDED_BUGS(_)                                                                             \
    _(TLBI_DROPPED, "tlbi-dropped", "unmaps and invalidates nothing")                              \
    _(TLBI_LATE, "tlbi-late", "gives memory back first, and invalidates with the next mapping")    \
    _(TLBI_BEFORE_CLEAR, "tlbi-before-clear", "invalidates before it clears the descriptors")      \
    _(TLBI_FIRST_ONLY, "tlbi-first-only", "invalidates the first page of a range")                 \
    _(TLBI_LAST_MISSED, "tlbi-last-missed", "its range ends a page too early")                     \
    _(TLBI_WRONG_ADDRESS, "tlbi-wrong-address", "invalidates what follows the range")              \
    _(TLBI_PAGE_NUMBER, "tlbi-page-number", "gives a page number where an address is due")         \
    _(TLBI_WRONG_ASID, "tlbi-wrong-asid", "names the next ASID")                                   \
    _(TLBI_ASID_ZERO, "tlbi-asid-zero", "leaves the ASID 0")                                       \
    _(TLBI_WRONG_LEVEL, "tlbi-wrong-level", "says TTL 2 of leaves on level 3")                     \
    _(TLBI_WRONG_GRANULE, "tlbi-wrong-granule", "says TG 64K of a table of 4K pages")              \
    _(TLBI_WRONG_SCALE, "tlbi-wrong-scale", "takes SCALE for the log2 of the range")               \
    _(TLBI_LEAF_AFTER_TABLE, "tlbi-leaf-after-table", "frees a table and invalidates leaves")      \
    _(TLBI_EL2, "tlbi-el2", "uses the EL2 command for an EL1 stream")                              \
    _(TLBI_WRONG_VMID, "tlbi-wrong-vmid", "names the next VMID")                                   \
    _(TLBI_STAGE1_FOR_STAGE2, "tlbi-stage1-for-stage2", "unmaps stage 2, invalidates stage 1")     \
    _(TLBI_IPA_ALONE, "tlbi-ipa-alone", "unmaps stage 2 below a guest, and keeps what combined")   \
    _(PERMISSION_KEPT, "permission-kept", "takes write permission away, invalidates nothing")      \
    _(SYNC_DROPPED, "sync-dropped", "never waits for its invalidations")                           \
    _(SYNC_FIRST, "sync-first", "waits before it invalidates")                                     \
    _(SYNC_NOT_AWAITED, "sync-not-awaited", "issues CMD_SYNC and goes on")                         \
    _(NO_BREAK, "no-break", "moves a page in one write")                                           \
    _(SPLIT_LIVE, "split-live", "replaces a block by a table in one write")                        \
    _(TABLE_FREED_EARLY, "table-freed-early", "frees a table before it invalidates")               \
    _(TABLE_STILL_LINKED, "table-still-linked", "frees a table that is still pointed to")          \
    _(ASID_REUSED, "asid-reused", "gives an ASID to a new space, invalidates nothing")             \
    _(VMID_REUSED, "vmid-reused", "gives a VMID to a new space, invalidates nothing")              \
    _(CLOSE_BEFORE_DETACH, "close-before-detach", "frees tables of a stream that is attached")     \
    _(CFGI_STE_DROPPED, "cfgi-ste-dropped", "changes an STE and invalidates nothing")              \
    _(CFGI_STE_WRONG_SID, "cfgi-ste-wrong-sid", "names the next StreamID")                         \
    _(CFGI_STE_EARLY, "cfgi-ste-early", "invalidates an STE, then changes it")                     \
    _(CFGI_NO_SYNC, "cfgi-no-sync", "never waits for CMD_CFGI_STE")                                \
    _(CFGI_CD_DROPPED, "cfgi-cd-dropped", "changes a CD and invalidates nothing")                  \
    _(CFGI_CD_WRONG_SSID, "cfgi-cd-wrong-ssid", "names the next SubstreamID")                      \
    _(CD_TLBI_DROPPED, "cd-tlbi-dropped", "gives an ASID other tables, and keeps translations")    \
    _(CD_FREED_EARLY, "cd-freed-early", "frees a CD that a valid STE points to")                   \
    _(STE_V_FIRST, "ste-v-first", "makes an STE valid, then fills it in")                          \
    _(STE_LIVE_REWRITE, "ste-live-rewrite", "rewrites a valid STE word by word")                   \
    _(CD_V_FIRST, "cd-v-first", "makes a CD valid, then fills it in")                              \
    _(CMDQ_WRAP, "cmdq-wrap", "forgets the wrap bit of PROD")                                      \
    _(CMDQ_FULL_IGNORED, "cmdq-full-ignored", "puts commands into a full queue")                   \
    _(CMDQ_DOORBELL_FIRST, "cmdq-doorbell-first", "moves PROD before it writes the command")       \
    _(EVENTQ_CONS_STUCK, "eventq-cons-stuck", "reads records and never moves CONS")                \
    _(EVENTQ_CONS_AHEAD, "eventq-cons-ahead", "moves CONS past PROD")                              \
    _(EVENTQ_NO_WRAP, "eventq-no-wrap", "forgets the wrap bit of CONS")                            \
    _(EVENTQ_OVERFLOW_KEPT, "eventq-overflow-kept", "never acknowledges an overflow")              \
    _(GERROR_ALL, "gerror-all", "acknowledges errors that are not active")                         \
    _(GERROR_NEVER, "gerror-never", "goes on without acknowledging an error")                      \
    _(GERROR_BEFORE_FIX, "gerror-before-fix", "acknowledges with the bad command still there")     \
    _(CR0_NOT_AWAITED, "cr0-not-awaited", "does not wait for CR0ACK")                              \
    _(STRTAB_LIVE, "strtab-live", "moves the Stream table while SMMUEN is 1")                      \
    _(CMDQ_BASE_LIVE, "cmdq-base-live", "moves the Command queue while it is enabled")             \
    _(CR1_LIVE, "cr1-live", "changes attributes while SMMUEN is 1")                                \
    _(IRQ_CFG_LIVE, "irq-cfg-live", "changes a message while its interrupt is enabled")

#define SEEDED_BUG_ENUMERATOR(id, name, what) BUG_##id,
enum seeded_bug { BUG_NONE, SEEDED_BUGS(SEEDED_BUG_ENUMERATOR) BUG_COUNT };

extern enum seeded_bug seeded_bug;

#define BUG(id) (seeded_bug == BUG_##id)
