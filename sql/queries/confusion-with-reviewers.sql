-- Which classes does the model predict for each finding of the reviewers?
select model_name, finding, predicted_class, count(*) as count_frame
from braintumor.review_comparison
group by model_name, finding, predicted_class
order by model_name, finding, predicted_class;
