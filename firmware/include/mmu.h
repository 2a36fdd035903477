/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The core's own MMU (DDI 0487 D8): one table of 1 GiB blocks that maps the board one to one.
 */
#pragma once

/* Turns the MMU and the caches on: RAM is Normal write-back, the rest that is mapped Device. */
void mmu_enable(void);
