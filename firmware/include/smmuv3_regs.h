/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Registers of an SMMUv3, as offsets from its base (Arm IHI 0070, chapter 6).
 *
 * Only the Non-secure programming interface. Offsets of 0x10000 and above are in register page 1.
 */
#pragma once

#include "bits.h"

/* 6.3.1 to 6.3.8: what the implementation has. */
#define SMMU_IDR0 0x0000
#define IDR0_S2P BIT(0)
#define IDR0_S1P BIT(1)
#define IDR0_TTF BITS(3, 2)
#define IDR0_TTF_AARCH64 2 /* or 3, with AArch32 as well */
#define IDR0_COHACC BIT(4)
#define IDR0_HTTU BITS(7, 6)
#define IDR0_HTTU_ACCESS 1
#define IDR0_HTTU_DIRTY 2
#define IDR0_HYP BIT(9)
#define IDR0_ATS BIT(10)
#define IDR0_MSI BIT(13)
#define IDR0_SEV BIT(14)
#define IDR0_PRI BIT(16)
#define IDR0_CD2L BIT(19)
#define IDR0_STALL_MODEL BITS(25, 24)
#define IDR0_STALL_MODEL_BOTH 0 /* faults stall or terminate, as configured */
#define IDR0_TERM_MODEL BIT(26)
#define IDR0_ST_LEVEL BITS(28, 27)
#define IDR0_ST_LEVEL_TWO 1
#define SMMU_IDR1 0x0004
#define IDR1_SIDSIZE BITS(5, 0)
#define IDR1_SSIDSIZE BITS(10, 6)
#define IDR1_PRIQS BITS(15, 11)
#define IDR1_EVENTQS BITS(20, 16)
#define IDR1_CMDQS BITS(25, 21)
#define IDR1_REL BIT(28)
#define IDR1_QUEUES_PRESET BIT(29)
#define IDR1_TABLES_PRESET BIT(30)
#define SMMU_IDR2 0x0008
#define SMMU_IDR3 0x000c
#define IDR3_HAD BIT(2)
#define IDR3_RIL BIT(10)
#define SMMU_IDR5 0x0014
#define IDR5_OAS BITS(2, 0)
#define IDR5_GRAN4K BIT(4)
#define IDR5_GRAN16K BIT(5)
#define IDR5_GRAN64K BIT(6)
#define IDR5_STALL_MAX BITS(31, 16)
#define SMMU_IIDR 0x0018
#define SMMU_AIDR 0x001c
#define AIDR_MAJOR BITS(7, 4)
#define AIDR_MINOR BITS(3, 0)

/* 6.3.9 to 6.3.12: control. CR0ACK follows the writable bits of CR0. */
#define SMMU_CR0 0x0020
#define SMMU_CR0ACK 0x0024
#define CR0_SMMUEN BIT(0)
#define CR0_PRIQEN BIT(1)
#define CR0_EVENTQEN BIT(2)
#define CR0_CMDQEN BIT(3)
#define CR0_ATSCHK BIT(4)
#define SMMU_CR1 0x0028
#define CR1_QUEUE_IC BITS(1, 0)
#define CR1_QUEUE_OC BITS(3, 2)
#define CR1_QUEUE_SH BITS(5, 4)
#define CR1_TABLE_IC BITS(7, 6)
#define CR1_TABLE_OC BITS(9, 8)
#define CR1_TABLE_SH BITS(11, 10)
#define CR1_CACHE_WB 1
#define CR1_SH_INNER 3
#define SMMU_CR2 0x002c
#define CR2_E2H BIT(0)
#define CR2_RECINVSID BIT(1)
#define CR2_PTM BIT(2)

/* 6.3.14: transactions while SMMUEN is 0. */
#define SMMU_GBPA 0x0044
#define GBPA_ABORT BIT(20)
#define GBPA_UPDATE BIT(31)

/* 6.3.16, 6.3.17: which interrupts are on. */
#define SMMU_IRQ_CTRL 0x0050
#define SMMU_IRQ_CTRLACK 0x0054
#define IRQ_CTRL_GERROR BIT(0)
#define IRQ_CTRL_PRIQ BIT(1)
#define IRQ_CTRL_EVENTQ BIT(2)

/* 6.3.18, 6.3.19: an error is active while its bits in the two registers differ. */
#define SMMU_GERROR 0x0060
#define SMMU_GERRORN 0x0064
#define GERROR_CMDQ_ERR BIT(0)
#define GERROR_EVENTQ_ABT_ERR BIT(2)
#define GERROR_PRIQ_ABT_ERR BIT(3)
#define GERROR_MSI_CMDQ_ABT_ERR BIT(4)
#define GERROR_MSI_EVENTQ_ABT_ERR BIT(5)
#define GERROR_MSI_PRIQ_ABT_ERR BIT(6)
#define GERROR_MSI_GERROR_ABT_ERR BIT(7)
#define GERROR_SFM_ERR BIT(8)
#define SMMU_GERROR_IRQ_CFG0 0x0068
#define SMMU_GERROR_IRQ_CFG1 0x0070
#define SMMU_GERROR_IRQ_CFG2 0x0074

/* 6.3.24, 6.3.25: the Stream table. */
#define SMMU_STRTAB_BASE 0x0080
#define STRTAB_BASE_ADDR BITS(55, 6)
#define STRTAB_BASE_RA BIT(62)
#define SMMU_STRTAB_BASE_CFG 0x0088
#define STRTAB_BASE_CFG_LOG2SIZE BITS(5, 0)
#define STRTAB_BASE_CFG_SPLIT BITS(10, 6)
#define STRTAB_BASE_CFG_FMT BITS(17, 16)
#define STRTAB_FMT_LINEAR 0
#define STRTAB_FMT_TWO_LEVEL 1

/* 6.3.26 to 6.3.28: the Command queue; software owns PROD, the SMMU owns CONS. */
#define SMMU_CMDQ_BASE 0x0090
#define SMMU_CMDQ_PROD 0x0098
#define SMMU_CMDQ_CONS 0x009c
#define CMDQ_CONS_ERR BITS(30, 24)
#define CERROR_NONE 0
#define CERROR_ILL 1
#define CERROR_ABT 2
#define CERROR_ATC_INV_SYNC 3

/* 6.3.29 to 6.3.32: the Event queue; the SMMU owns PROD, software owns CONS. */
#define SMMU_EVENTQ_BASE 0x00a0
#define SMMU_EVENTQ_PROD 0x100a8
#define EVENTQ_PROD_OVFLG BIT(31)
#define SMMU_EVENTQ_CONS 0x100ac
#define EVENTQ_CONS_OVACKFLG BIT(31)
#define SMMU_EVENTQ_IRQ_CFG0 0x00b0
#define SMMU_EVENTQ_IRQ_CFG1 0x00b8
#define SMMU_EVENTQ_IRQ_CFG2 0x00bc

/* 6.3.33 to 6.3.36: the PRI queue; the SMMU owns PROD, software owns CONS. */
#define SMMU_PRIQ_BASE 0x00c0
#define SMMU_PRIQ_PROD 0x100c8
#define SMMU_PRIQ_CONS 0x100cc
#define SMMU_PRIQ_IRQ_CFG0 0x00d0

/* The address of a message, in all three IRQ_CFG0; CFG1 holds the data. */
#define IRQ_CFG0_ADDR BITS(55, 2)

/* All queue bases: the address is aligned to the queue's size. */
#define QUEUE_BASE_LOG2SIZE BITS(4, 0)
#define QUEUE_BASE_ADDR BITS(55, 5)
#define QUEUE_BASE_ALLOCATE BIT(62) /* RA or WA: a hint for caches */
