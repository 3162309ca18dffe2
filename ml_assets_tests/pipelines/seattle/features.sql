SELECT
    b.row_id,
    month(b.date) AS month,
    b.precipitation,
    b.temp_max,
    b.temp_max - b.temp_min AS temp_range,
    b.wind,
    CASE WHEN b.precipitation = 0 THEN 'dry' WHEN b.precipitation < 5 THEN 'wet' ELSE 'soaked' END AS ground,
    b.temp_max - s.usual_max AS warmer_than_usual,
    s.rain_share
FROM batch b
LEFT JOIN season s ON s.month = month(b.date)
