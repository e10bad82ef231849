// SPDX-License-Identifier: MIT
#pragma once

#define FASTVIT_VERSION_MAJOR 0
#define FASTVIT_VERSION_MINOR 2
#define FASTVIT_VERSION_PATCH 0
