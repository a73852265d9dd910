/* The lease on the runs in a SQLite file. See lease.h. */
#include "record/commit/lease.h"

#include "core/clock.h"
#include "record/owner.h"

#include <stdio.h>
#include <string.h>

void rl_lease_name(unsigned number, char name[RL_JOURNAL_FILE_OWNER])
{
    char process[RL_OWNER_TEXT];

    rl_owner_self(process);
    snprintf(name, RL_JOURNAL_FILE_OWNER, "%s %u", process, number);
}

rl_status rl_lease_take(rl_journal_file *file, const char *name, bool *taken, rl_err *err)
{
    char holder[RL_JOURNAL_FILE_OWNER];
    int64_t until, now = rl_time_now();
    rl_status status = rl_journal_file_lease_holder(file, holder, &until, err);

    *taken = false;
    if (status == RL_OK) {
        /* an end too far in the future: the clock was set back since */
        bool held = holder[0] != '\0' && strcmp(holder, name) != 0 && until > now &&
                    until <= now + 2 * RL_LEASE_US &&
                    rl_owner_check(holder) != RL_OWNER_EXITED;

        if (!held) {
            status = rl_journal_file_take_lease(file, holder, name, now + RL_LEASE_US,
                                                taken, err);
        }
    }
    return status;
}
