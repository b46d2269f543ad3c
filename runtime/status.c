// status: the fixed texts of the error codes, and the version. All of it comes from the list in sage.h; nothing here
// can fail. SPDX-License-Identifier: Apache-2.0
#include "sage.h"

const char *sage_status_text(sage_status status) {
    switch (status) {
#define STATUS_CASE(symbol, number, text)                                                                              \
    case SAGE_##symbol:                                                                                                \
        return text;
        SAGE_STATUS_LIST(STATUS_CASE)
#undef STATUS_CASE
    }
    return "unknown status";
}

int sage_version(void) {
    return SAGE_VERSION_MAJOR * 10000 + SAGE_VERSION_MINOR * 100 + SAGE_VERSION_PATCH;
}
