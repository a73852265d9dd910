-- Where a run broke: the traceback of the exception that ended it, if no node log has it.
ALTER TABLE workflow_runs ADD COLUMN error_traceback TEXT;
