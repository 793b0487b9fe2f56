-- Comments that listed what code may add to at any time now give examples.

set local search_path = braintumor;

comment on column scan.format is 'What the file is by its content, such as jpeg or dicom; null until it is scored.';
comment on column prediction.engine is 'What computed it, such as openvino-cpu.';
comment on column scoring_run.engine is 'What computes its answers, such as openvino-cpu.';
