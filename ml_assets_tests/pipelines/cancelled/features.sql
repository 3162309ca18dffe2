SELECT
    b.row_id,
    b.carrier,
    b.origin,
    b.distance,
    b.hour,
    dayofweek(b.time_hour) AS weekday,
    w.wind_speed,
    w.visib,
    w.precip,
    w.temp,
    h.cancelled_share
FROM batch b
LEFT JOIN weather w ON w.origin = b.origin AND w.time_hour = b.time_hour
LEFT JOIN carrier_history h ON h.carrier = b.carrier
