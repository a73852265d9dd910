-- PostgreSQL alone has tables on several servers.
SELECT 1;
