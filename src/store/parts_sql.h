/* What the statements of both databases say about the parts of runs. Only SQL. core/run.h
 * says what parts are; migration 006 has the table.
 *
 * Logs may arrive in any order and more than once, see merge_sql.h. The rule for parts:
 * - A part belongs to the run's row in the database, under that row's id, and is stored
 *   only if the row exists.
 * - A value is stored once and never changes.
 * - A node part is stored only while the row has no node_logs. Of two with one name, that
 *   of the greater revision stays.
 * - RL_PARTS_JOIN joins the node parts that are there. So it must come after the logs
 *   that have them; record/commit/journal.c sees to that. */
#ifndef RL_PARTS_SQL_H
#define RL_PARTS_SQL_H

#define RL_SQL_NODES "'n'" /* names of node parts are greater, those of values less */

/* node_logs gets no more bytes than this. Of a larger run the parts stay: jsonb holds
 * less than 256 MB, in which an array of small numbers takes six times its text. */
#define RL_SQL_NODES_MAX "40000000"

#endif
