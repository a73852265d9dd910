"""A database laid out by `runlog migrate --distributed`, on one server without Citus.

Functions and catalogs stand in for those of Citus that the layout uses. They note what
was asked for, refuse keys without the column that spreads a table, and empty the
coordinator's copy, as Citus does. So tables, keys and triggers are those of a cluster.
"""

from __future__ import annotations

CITUS = """
DROP SCHEMA IF EXISTS coordinator CASCADE;
CREATE TABLE pg_dist_partition (logicalrelid regclass, partmethod "char", partkey text);
CREATE TABLE pg_dist_local_group AS SELECT 0 AS groupid;
CREATE FUNCTION column_to_column_name(tab regclass, key text) RETURNS text
LANGUAGE sql AS 'SELECT key';
CREATE FUNCTION create_distributed_table(
    tab regclass, key text, colocate_with text DEFAULT 'default') RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM pg_index JOIN pg_attribute ON attrelid = indrelid
               WHERE indrelid = tab AND indisunique AND attname = key
               AND attnum <> ALL (indkey)) THEN
        RAISE 'cannot create constraint on "%"', tab;
    END IF;
    INSERT INTO pg_dist_partition VALUES (tab, 'h', key);
END;
$$;
CREATE FUNCTION create_reference_table(tab regclass) RETURNS void
LANGUAGE sql AS $$ INSERT INTO pg_dist_partition VALUES (tab, 'n', NULL) $$;
CREATE SCHEMA coordinator; -- where a table of the same name stands for the local copy
CREATE FUNCTION truncate_local_data_after_distributing_table(tab regclass) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    make TEXT;
BEGIN
    EXECUTE format('CREATE TABLE coordinator.%I (LIKE %s)', tab, tab);
    FOR make IN SELECT replace(pg_get_triggerdef(oid), ' ON public.', ' ON coordinator.')
                FROM pg_trigger WHERE tgrelid = tab AND tgtype & 32 <> 0 LOOP
        EXECUTE make;
    END LOOP;
    EXECUTE format('TRUNCATE coordinator.%I', tab);
    EXECUTE format('DROP TABLE coordinator.%I', tab);
END;
$$;
"""
