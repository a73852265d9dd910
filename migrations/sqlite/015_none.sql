-- The migration of this number is not in this version.
SELECT 1;
