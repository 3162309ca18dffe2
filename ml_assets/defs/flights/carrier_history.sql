-- How a carrier did in the months before: `history` holds earlier batches only, so no flight sees its own future.
SELECT
    carrier,
    count(*)                                AS flights,
    avg(late::INT)                          AS late_share,
    avg(arr_delay)                          AS mean_delay_min,
    avg((dep_time IS NULL)::INT)            AS cancelled_share
FROM history
GROUP BY carrier
