-- Condition on `frame` and its reviews: the frame waits for the person, and its scan is not in the audit sample.
case when frame.is_conflict then not is_own_frame else not is_own end
and not exists (select from scan where scan.scan_id = frame.scan_id and audit_probability is not null)
