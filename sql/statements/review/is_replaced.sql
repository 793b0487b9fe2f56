-- Condition on `frame`: its file was overwritten. The new version is another scan, and the page does not show this one.
exists (select from scan where scan.scan_id = frame.scan_id and is_replaced)
