/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an SMMUv3 reads and writes in memory: Stream table (Arm IHI 0070, 5.1 and 5.2), Context
 * descriptors (5.4), commands (chapter 4) and event records (7.3).
 *
 * Everything is made of little-endian doublewords. STE1_EATS is a field of doubleword 1 of an STE.
 */
#pragma once

#include "bits.h"

/* 5.1: a level 1 Stream table descriptor. */
#define L1STD_SPAN BITS(4, 0) /* 0: no table; else it has 2^(Span - 1) entries */
#define L1STD_L2PTR BITS(55, 6)

/* 5.2: a Stream table entry, 64 bytes. */
struct ste {
    uint64_t dw[8];
};

#define STE0_V BIT(0)
#define STE0_CONFIG BITS(3, 1)
#define STE_CONFIG_ABORT 0
#define STE_CONFIG_BYPASS 4
#define STE_CONFIG_S1 5
#define STE_CONFIG_S2 6
#define STE_CONFIG_NESTED 7
#define STE0_S1FMT BITS(5, 4)
#define STE0_S1CONTEXTPTR BITS(55, 6)
#define STE0_S1CDMAX BITS(63, 59)
#define STE_S1FMT_LINEAR 0
#define STE_S1FMT_4K 1  /* two levels, 64 Context descriptors in a level 2 table */
#define STE_S1FMT_64K 2 /* two levels, 1024 */
#define STE1_S1DSS BITS(1, 0)
#define STE_S1DSS_TERMINATE 0
#define STE_S1DSS_BYPASS 1
#define STE_S1DSS_SSID0 2
#define STE1_S1CIR BITS(3, 2)
#define STE1_S1COR BITS(5, 4)
#define STE1_S1CSH BITS(7, 6)
#define STE_CACHE_WB_RA 1
#define STE_SH_INNER 3
#define STE1_S2HWU BITS(11, 8)
#define STE1_CONT BITS(16, 13)
#define STE1_PPAR BIT(18)
#define STE1_MEV BIT(19)
#define STE1_S2FWB BIT(25)
#define STE1_S1STALLD BIT(27)
#define STE1_EATS BITS(29, 28)
#define STE_EATS_FULL 1
#define STE1_STRW BITS(31, 30)
#define STE_STRW_EL2 2
#define STE1_MEMATTR BITS(35, 32)
#define STE1_MTCFG BIT(36)
#define STE1_ALLOCCFG BITS(40, 37)
#define STE1_SHCFG BITS(45, 44)
#define STE_SHCFG_INCOMING 1
#define STE1_PRIVCFG BITS(49, 48)
#define STE1_INSTCFG BITS(51, 50)
#define STE2_S2VMID BITS(15, 0)
#define STE2_S2T0SZ BITS(37, 32)
#define STE2_S2SL0 BITS(39, 38)
#define STE2_S2IR0 BITS(41, 40)
#define STE2_S2OR0 BITS(43, 42)
#define STE2_S2SH0 BITS(45, 44)
#define STE2_S2TG BITS(47, 46)
#define STE2_S2PS BITS(50, 48)
#define STE2_S2AA64 BIT(51)
#define STE2_S2PTW BIT(54)
#define STE2_S2HD BIT(55)
#define STE2_S2HA BIT(56)
#define STE2_S2S BIT(57)
#define STE2_S2R BIT(58)
#define STE2_STAGE2 BITS(58, 32) /* everything of stage 2 but the VMID */
#define STE3_S2TTB BITS(51, 4)

/* 5.3: a level 1 Context descriptor table entry. */
#define L1CD_V BIT(0)
#define L1CD_L2PTR BITS(55, 12)

/* 5.4: a Context descriptor, 64 bytes. */
struct cd {
    uint64_t dw[8];
};

#define CD0_T0SZ BITS(5, 0)
#define CD0_TG0 BITS(7, 6)
#define CD_TG0_4K 0
#define CD_TG0_64K 1
#define CD_TG0_16K 2
#define CD0_IR0 BITS(9, 8)
#define CD0_OR0 BITS(11, 10)
#define CD0_SH0 BITS(13, 12)
#define CD0_EPD0 BIT(14)
#define CD0_ENDI BIT(15)
#define CD0_T1SZ BITS(21, 16)
#define CD0_TG1 BITS(23, 22)
#define CD_TG1_16K 1
#define CD_TG1_4K 2
#define CD_TG1_64K 3
#define CD0_IR1 BITS(25, 24)
#define CD0_OR1 BITS(27, 26)
#define CD0_SH1 BITS(29, 28)
#define CD0_EPD1 BIT(30)
#define CD_CACHE_WB_RA_WA 1
#define CD_SH_INNER 3
#define CD0_V BIT(31)
#define CD0_IPS BITS(34, 32)
#define CD_IPS_32 0
#define CD_IPS_40 2
#define CD_IPS_44 4
#define CD0_AFFD BIT(35)
#define CD0_TBI0 BIT(38)
#define CD0_TBI1 BIT(39)
#define CD0_AA64 BIT(41)
#define CD0_HD BIT(42)
#define CD0_HA BIT(43)
#define CD0_S BIT(44) /* faults stall */
#define CD0_R BIT(45) /* faults are recorded */
#define CD0_A BIT(46) /* faults abort */
#define CD0_ASET BIT(47)
#define CD0_ASID BITS(63, 48)
#define CD1_TTB0 BITS(55, 4)
#define CD2_TTB1 BITS(55, 4)
/* Doubleword 3 is MAIR, as in MAIR_ELx. */

/* Chapter 4: a command, 16 bytes. */
struct smmu_command {
    uint64_t dw[2];
};

#define CMD0_OPCODE BITS(7, 0)
#define CMD_PREFETCH_CONFIG 0x01
#define CMD_CFGI_STE 0x03
#define CMD_CFGI_STE_RANGE 0x04
#define CMD_CFGI_CD 0x05
#define CMD_CFGI_CD_ALL 0x06
#define CMD_TLBI_NH_ALL 0x10
#define CMD_TLBI_NH_ASID 0x11
#define CMD_TLBI_NH_VA 0x12
#define CMD_TLBI_NH_VAA 0x13
#define CMD_TLBI_EL2_ALL 0x20
#define CMD_TLBI_EL2_ASID 0x21
#define CMD_TLBI_EL2_VA 0x22
#define CMD_TLBI_EL2_VAA 0x23
#define CMD_TLBI_S12_VMALL 0x28
#define CMD_TLBI_S2_IPA 0x2a
#define CMD_TLBI_NSNH_ALL 0x30
#define CMD_ATC_INV 0x40
#define CMD_PRI_RESP 0x41
#define CMD_RESUME 0x44
#define CMD_STALL_TERM 0x45
#define CMD_SYNC 0x46

#define CMD_CFGI0_SSEC BIT(10)
#define CMD_CFGI0_SUBSTREAMID BITS(31, 12)
#define CMD_CFGI0_STREAMID BITS(63, 32)
#define CMD_CFGI1_LEAF BIT(0)
#define CMD_CFGI1_RANGE BITS(4, 0)
#define CMD_CFGI_RANGE_ALL 31

#define CMD_TLBI0_NUM BITS(16, 12)
#define CMD_TLBI0_SCALE BITS(24, 20)
#define CMD_TLBI0_VMID BITS(47, 32)
#define CMD_TLBI0_ASID BITS(63, 48)
#define CMD_TLBI1_LEAF BIT(0)
#define CMD_TLBI1_TTL BITS(9, 8)
#define CMD_TLBI1_TG BITS(11, 10)
#define CMD_TLBI_TG_4K 1
#define CMD_TLBI_TG_16K 2
#define CMD_TLBI_TG_64K 3
#define CMD_TLBI1_ADDRESS BITS(63, 12)

#define CMD_ATC_INV0_SSV BIT(11)
#define CMD_ATC_INV0_SUBSTREAMID BITS(31, 12)
#define CMD_ATC_INV0_STREAMID BITS(63, 32)
#define CMD_ATC_INV1_SIZE BITS(5, 0) /* 4096 << Size bytes */
#define CMD_ATC_INV_SIZE_ALL 52
#define CMD_ATC_INV1_ADDRESS BITS(63, 12)

#define CMD_PRI_RESP0_SSV BIT(11)
#define CMD_PRI_RESP0_SUBSTREAMID BITS(31, 12)
#define CMD_PRI_RESP0_STREAMID BITS(63, 32)
#define CMD_PRI_RESP1_INDEX BITS(8, 0)
#define CMD_PRI_RESP1_RESP BITS(13, 12)
#define CMD_PRI_RESP_FAILURE 0
#define CMD_PRI_RESP_INVALID 1
#define CMD_PRI_RESP_SUCCESS 2

#define CMD_RESUME0_AC BIT(12) /* retry; else terminate */
#define CMD_RESUME0_AB BIT(13) /* terminate with an abort; else as though it had passed */
#define CMD_RESUME0_STREAMID BITS(63, 32)
#define CMD_RESUME1_STAG BITS(15, 0)

#define CMD_SYNC0_CS BITS(13, 12)
#define CMD_SYNC_CS_NONE 0
#define CMD_SYNC_CS_IRQ 1
#define CMD_SYNC_CS_SEV 2
#define CMD_SYNC0_MSIDATA BITS(63, 32)
#define CMD_SYNC1_MSIADDRESS BITS(55, 2)

/* 7.3: an event record, 32 bytes. */
struct smmu_event {
    uint64_t dw[4];
};

#define EVENT0_TYPE BITS(7, 0)
#define EVENT_F_UUT 0x01
#define EVENT_C_BAD_STREAMID 0x02
#define EVENT_F_STE_FETCH 0x03
#define EVENT_C_BAD_STE 0x04
#define EVENT_F_BAD_ATS_TREQ 0x05
#define EVENT_F_STREAM_DISABLED 0x06
#define EVENT_F_TRANSL_FORBIDDEN 0x07
#define EVENT_C_BAD_SUBSTREAMID 0x08
#define EVENT_F_CD_FETCH 0x09
#define EVENT_C_BAD_CD 0x0a
#define EVENT_F_WALK_EABT 0x0b
#define EVENT_F_TRANSLATION 0x10
#define EVENT_F_ADDR_SIZE 0x11
#define EVENT_F_ACCESS 0x12
#define EVENT_F_PERMISSION 0x13
#define EVENT_F_TLB_CONFLICT 0x20
#define EVENT_F_CFG_CONFLICT 0x21
#define EVENT_E_PAGE_REQUEST 0x24
#define EVENT_F_VMS_FETCH 0x25
#define EVENT0_SSV BIT(11)
#define EVENT0_SUBSTREAMID BITS(31, 12)
#define EVENT0_STREAMID BITS(63, 32)
/* Doubleword 1 of the faults of a translation. */
#define EVENT1_STAG BITS(15, 0)
#define EVENT1_STALL BIT(31)
#define EVENT1_PNU BIT(33)
#define EVENT1_IND BIT(34)
#define EVENT1_RNW BIT(35)
#define EVENT1_S2 BIT(39)
#define EVENT1_CLASS BITS(41, 40)
#define EVENT_CLASS_CD 0
#define EVENT_CLASS_TTD 1
#define EVENT_CLASS_IN 2
/* Doubleword 2 is the input address; 3 is the fetch address, or the IPA of a stage 2 fault. */
#define EVENT3_ADDRESS BITS(55, 3)

/* 8: a record of the PRI queue, 16 bytes. */
struct smmu_page_request {
    uint64_t dw[2];
};

#define PRI0_STREAMID BITS(31, 0)
#define PRI0_SUBSTREAMID BITS(51, 32)
#define PRI0_PRIVILEGED BIT(58)
#define PRI0_EXECUTE BIT(59)
#define PRI0_READ BIT(60)
#define PRI0_WRITE BIT(61)
#define PRI0_LAST BIT(62)
#define PRI0_SSV BIT(63)
#define PRI1_INDEX BITS(8, 0)
#define PRI1_ADDRESS BITS(63, 12)
