-- What each month was like in the half-years before.
SELECT month(date) AS month, avg(temp_max) AS usual_max, avg((weather = 'rain')::INT) AS rain_share
FROM history
GROUP BY month(date)
