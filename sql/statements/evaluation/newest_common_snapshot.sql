-- The newest snapshot on whose test split both models were evaluated.
select snapshot_id
from evaluation
join snapshot using (snapshot_id)
where split = 'test' and model_version_id in (:a, :b)
group by snapshot_id, snapshot.created_at
having count(distinct model_version_id) = cardinality(array(select distinct unnest(array[:a, :b])))
order by snapshot.created_at desc
limit 1
