-- Which model is best on the test split, and which one is the champion?
select model_name, backbone, count_image, accuracy, accuracy_low, accuracy_high, is_champion, is_withdrawn
from braintumor.model_leaderboard
where split = 'test'
order by accuracy desc, model_name;
