-- Which model is best on the test split of each snapshot, and which one is the champion?
select snapshot_id, model_name, backbone, count_image, accuracy, accuracy_low, accuracy_high, is_champion, is_withdrawn
from braintumor.model_leaderboard
where split = 'test'
order by snapshot_id desc, accuracy desc, model_name;
