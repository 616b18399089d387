-- Indexes for the lists that people ask for. Task runs are many, so only those in other states than Completed are in one.
CREATE INDEX flow_runs_by_end ON flow_runs (end_time);
CREATE INDEX flow_runs_by_name ON flow_runs (name, id DESC);
CREATE INDEX flow_runs_in_other_states ON flow_runs (lower(state_name)) WHERE state_name <> 'Completed';
CREATE INDEX task_runs_in_other_states ON task_runs (lower(state_name)) WHERE state_name <> 'Completed';
