-- PostgreSQL alone gets an index here: on SQLite those of workflow_runs serve the search by words.
SELECT 1;
