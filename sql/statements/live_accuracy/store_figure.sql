-- One figure of a scoring run. A second reconciliation of the run replaces it.
insert into live_accuracy_figure (
    scoring_run_id, figure, class, value, low, high, not_assessed,
    count_drawn, count_read, count_settled, count_conflict, count_undecided)
values (
    :scoring_run_id, cast(:figure as accuracy_figure), cast(:label as tumor_class), :value, :low, :high, :not_assessed,
    :count_drawn, :count_read, :count_settled, :count_conflict, :count_undecided)
on conflict (scoring_run_id, figure, class) do update
set value = excluded.value, low = excluded.low, high = excluded.high, not_assessed = excluded.not_assessed,
    count_drawn = excluded.count_drawn, count_read = excluded.count_read, count_settled = excluded.count_settled,
    count_conflict = excluded.count_conflict, count_undecided = excluded.count_undecided, estimated_at = now()
